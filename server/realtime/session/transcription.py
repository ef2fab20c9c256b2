"""Transcripts of spoken questions that no answer brings."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final

from server.realtime.session.state import SessionState
from server.realtime.session.turn_controller import TurnController
from server.realtime.wire.response_events import failed_transcript, transcript_events
from step_audio.core.cancellation import asked_to_stop
from step_audio.core.errors import Overloaded, PartFailed, StepAudioError
from step_audio.dialog.prompting.conversation import UserAudio

_LOG = logging.getLogger(__name__)

MAX_WAITING: Final = 16
_KEPT: Final = 100
"""Items of a transcription session that may still be retrieved."""
_GRACE_S: Final = 0.3
"""A client that commits mostly asks for an answer next, and the answer brings the transcript."""


class InputTranscription:
    """Asks the model what was said, once it is clear that no answer will tell."""

    def __init__(self, session_state: SessionState, turns: TurnController) -> None:
        self._state, self._turns = session_state, turns
        self._waiting: deque[UserAudio] = deque()
        self._task: asyncio.Task[None] | None = None

    def want(self, item: UserAudio) -> None:
        """See to it that the client learns what was said, if it wants to know."""
        if self._state.config.transcription is None:
            return
        if len(self._waiting) >= MAX_WAITING:
            self._fail(item, Overloaded("too many questions wait for their transcripts"))
            return
        self._waiting.append(item)
        if self._task is None or self._task.done():
            self._task = self._state.tasks.create_task(self._work(), name="captions")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _work(self) -> None:
        while self._waiting:
            answered = self._state.config.purpose == "realtime"
            if answered and self._state.assistant.recognition is None:
                await asyncio.sleep(_GRACE_S)
                await self._turns.free()
            item = self._waiting.popleft()
            await self._caption(item)
            if self._state.config.purpose == "transcription":
                self._forget_old()

    def _forget_old(self) -> None:
        """Drop what was said long ago: a dictation may last for hours, and nobody answers it."""
        conversation = self._state.conversation
        for item in [*conversation][: max(0, len(conversation) - _KEPT)]:
            conversation.delete(item.item_id)
            self._state.told.discard(item.item_id)
            self._state.spoken_s.pop(item.item_id, None)

    async def _caption(self, item: UserAudio) -> None:
        session_state = self._state
        if item.item_id in session_state.told or not session_state.conversation.has(item.item_id):
            return
        session_state.told.add(
            item.item_id
        )  # an answer that begins meanwhile does not tell it again
        try:
            heard = await session_state.assistant.words(
                item, session_state.config.recognition_hints
            )
        except StepAudioError as error:
            self._fail(item, error)
            return
        except asyncio.CancelledError:
            if asked_to_stop():
                raise
            _LOG.exception("transcription cancelled from within")
            self._fail(item, PartFailed("transcription"))
            return
        except Exception:
            _LOG.exception("transcription failed")
            self._fail(item, PartFailed("transcription"))
            return
        if session_state.conversation.has(item.item_id):
            session_state.conversation.transcribe(item.item_id, heard)
        shown = session_state.shown_words.pop(item.item_id, "")
        for event in transcript_events(
            item.item_id, heard, session_state.spoken_s.get(item.item_id, 0.0), shown
        ):
            session_state.send_queue.send(event)

    def _fail(self, item: UserAudio, error: StepAudioError) -> None:
        self._state.send_queue.send(failed_transcript(item.item_id, error))
