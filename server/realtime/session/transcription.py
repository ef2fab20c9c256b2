"""Transcripts of spoken questions that no answer brings: for clients, and for the history."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import Final

from server.realtime.session.state import SessionState
from server.realtime.session.turn_controller import TurnController
from server.realtime.wire.response_events import failed_transcript, transcript_events
from step_audio.core.cancellation import asked_to_stop
from step_audio.core.errors import Overloaded, PartFailed, StepAudioError
from step_audio.core.types import Transcript
from step_audio.dialog.prompting.conversation import Item, MultiPartMessage, SpokenPart, UserAudio

_LOG = logging.getLogger(__name__)

MAX_WAITING: Final = 16
_KEPT: Final = 100
"""Items of a transcription session that may still be retrieved."""
_GRACE_S: Final = 0.3
"""A client that commits mostly asks for an answer next, and the answer brings the transcript."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An item without words; `told`: the client wants them, else only the history does."""

    item: UserAudio | MultiPartMessage
    told: bool


class InputTranscription:
    """Asks what was said: a recognizer at once, the model when no answer will tell.

    The words go to the client, if it wants them, and into the history, where they take fewer ids
    than the sound.
    """

    def __init__(self, session_state: SessionState, turns: TurnController) -> None:
        self._state, self._turns = session_state, turns
        self._waiting: deque[_Wanted] = deque()
        self._task: asyncio.Task[None] | None = None

    def want(self, item: UserAudio) -> None:
        """See to it that the words of a committed question become known, if somebody needs them."""
        told = self._state.config.transcription is not None
        if told or self._state.assistant.rewrites_history:
            self._queue(_Wanted(item, told))

    def note(self, item: Item) -> None:
        """See to it that the history has the words of an item that the client made of sound."""
        if not self._state.assistant.rewrites_history:
            return
        if isinstance(item, UserAudio | MultiPartMessage) and _unheard(item):
            self._queue(_Wanted(item, told=False))

    def _queue(self, wanted: _Wanted) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._fail(wanted, Overloaded("too many questions wait for their transcripts"))
            return
        self._waiting.append(wanted)
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
            await self._caption(self._waiting.popleft())
            if self._state.config.purpose == "transcription":
                self._forget_old()

    def _forget_old(self) -> None:
        """Drop what was said long ago: a dictation may last for hours, and nobody answers it."""
        conversation = self._state.conversation
        for item in [*conversation][: max(0, len(conversation) - _KEPT)]:
            conversation.delete(item.item_id)
            self._state.told.discard(item.item_id)
            self._state.spoken_s.pop(item.item_id, None)

    async def _caption(self, wanted: _Wanted) -> None:
        state, item_id = self._state, wanted.item.item_id
        if item_id in state.told or not state.conversation.has(item_id):
            return
        if wanted.told:
            state.told.add(item_id)  # an answer that begins meanwhile does not tell it again
        try:
            heard = await self._words(wanted.item)
        except StepAudioError as error:
            self._fail(wanted, error)
            return
        except asyncio.CancelledError:
            if asked_to_stop():
                raise
            _LOG.exception("transcription cancelled from within")
            self._fail(wanted, PartFailed("transcription"))
            return
        except Exception:
            _LOG.exception("transcription failed")
            self._fail(wanted, PartFailed("transcription"))
            return
        if state.conversation.has(item_id):
            if isinstance(wanted.item, UserAudio):
                state.conversation.transcribe(item_id, heard[0])
            else:
                state.conversation.transcribe_parts(item_id, heard)
        if wanted.told:
            shown = state.shown_words.pop(item_id, "")
            seconds = state.spoken_s.get(item_id, 0.0)
            for event in transcript_events(item_id, heard[0], seconds, shown):
                state.send_queue.send(event)

    async def _words(self, item: UserAudio | MultiPartMessage) -> list[Transcript]:
        """Return what is said in each sound of an item that has no words. Raises StepAudioError."""
        words, hints = self._state.assistant.words, self._state.config.recognition_hints
        return [await words(sound, hints) for sound in _unheard(item)]

    def _fail(self, wanted: _Wanted, error: StepAudioError) -> None:
        if wanted.told:
            self._state.send_queue.send(failed_transcript(wanted.item.item_id, error))
        else:
            _LOG.warning("a question stays sound in the history", extra={"error": str(error)})


def _unheard(item: UserAudio | MultiPartMessage) -> list[UserAudio]:
    """Return the sounds of an item that nobody gave the words of, as questions."""
    if isinstance(item, UserAudio):
        return [item] if item.transcript is None else []
    return [
        UserAudio(item.item_id, part.groups, speech=part.speech)
        for part in item.parts
        if isinstance(part, SpokenPart) and part.transcript is None
    ]
