"""The seam between rounds of tools and a model: one turn of it, by ids or by messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from step_audio.core.errors import ToolError
from step_audio.core.types import Reasoning
from step_audio.dialog.prompting.conversation import Conversation
from step_audio.dialog.response.options import AnswerOptions
from step_audio.dialog.response.parser import Parsed
from step_audio.dialog.tool_calls.tool_choice import ToolChoice

TurnEvent = Parsed | Reasoning


class ModelTurn(Protocol):
    """One model: what it writes until it has said all, or calls tools."""

    def generate(
        self,
        conversation: Conversation,
        options: AnswerOptions,
        until: str | None,
        choice: ToolChoice,
    ) -> AsyncGenerator[TurnEvent, None]:
        """Yield the turn behind `until`; closing the generator aborts the request.

        Raises:
            EngineError: the model broke or was late.
            InputError: its context is too small for any prompt.
        """

    def failure(self, error: ToolError) -> str:
        """Return what the model is told of a call that failed."""
