"""Reading along: the engine computes a prompt while the question in it is still being spoken.

So what is left to compute when the person stops does not depend on how long they spoke.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from step_audio.core.errors import StepAudioError
from step_audio.core.ports import Engine, ToolSpec
from step_audio.dialog.prompting.context_window import ContextWindow
from step_audio.dialog.prompting.conversation import Conversation
from step_audio.dialog.turns.utterance import Utterance

_LOG = logging.getLogger(__name__)

_EVERY_GROUPS: Final = 4
"""0.48 s of speech: a question of 20 s is told to the engine in some forty pieces."""
_TIMEOUT_S: Final = 10.0


class Prefiller:
    """For one session: one prefill at a time, the newest state of the question next."""

    def __init__(self, engine: Engine, context: ContextWindow, session: str) -> None:
        self._engine, self._context, self._session = engine, context, session
        self._task: asyncio.Task[None] | None = None
        self._question: Utterance | None = None
        self._told = 0  # groups of the question

    def due(self, question: Utterance) -> bool:
        """Whether `follow` would tell anything: its arguments take time to make."""
        if self._task is not None and not self._task.done():
            return False
        return question is not self._question or question.length >= self._told + _EVERY_GROUPS

    def follow(
        self,
        conversation: Conversation,
        question: Utterance,
        system: str,
        tools: Sequence[ToolSpec] = (),
        exchange: tuple[str, str] | None = None,
    ) -> None:
        """Tell the engine what is new since the last call, if it is `due`; never waits.

        Args:
            conversation: to which the question will be added.
            question: still being spoken.
            system: text of the system turn.
            tools: that the answer will be told of.
            exchange: that sets the role of the answer.
        """
        if not self.due(question):
            return
        groups = question.groups
        self._question, self._told = question, len(groups)
        try:
            prompt = self._context.so_far(conversation, system, groups, tools, exchange)
        except StepAudioError as error:
            _LOG.debug("not read ahead", extra={"error": error.code})
            return
        self._task = asyncio.create_task(self._prefill(prompt), name="engine.prefill")

    async def close(self) -> None:
        """Stop what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _prefill(self, prompt: tuple[int, ...]) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await self._engine.prefill(prompt, self._session)
        except (StepAudioError, TimeoutError) as error:
            # A hint only: the answer is computed from the whole prompt anyway.
            _LOG.debug("not prefilled", extra={"error": str(error)})
