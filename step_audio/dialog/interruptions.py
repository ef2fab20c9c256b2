"""Short sounds over an answer: a cough, a word of assent, or a wish that it end.

Length alone cannot tell "stop" from "yeah". A model that writes down what it hears is asked which
of some phrases was said, which a weak ear answers far better than what was said at all; another
that transcribes is asked for the words. What neither tells, the length does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from step_audio.core.errors import StepAudioError
from step_audio.core.ports import RecognitionHints
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.conversation import UserAudio
from step_audio.dialog.recognition.recognition import NO_HINTS
from step_audio.dialog.turns.backchannels import ASSENT, OBJECTIONS, objects
from step_audio.dialog.turns.utterance import SpokenQuestion

_LOG = logging.getLogger(__name__)

_PATIENCE_S: Final = 1.0
"""So long the answer waits, silent, for the words; then the length decides."""


class InterruptionJudge:
    """Judges the sounds over one session's answers.

    Args:
        assistant: hears them.
        hints: tells what is known of the person's speech, for a recognizer.
    """

    def __init__(
        self, assistant: Assistant, hints: Callable[[], RecognitionHints] = lambda: NO_HINTS
    ) -> None:
        self._assistant, self._turns, self._hints = assistant, assistant.settings.turns, hints
        self._listens = assistant.transcribes and self._turns.backchannel_ms > 0
        marked = assistant.services.vocab.heard_open is not None
        own = assistant.recognition is None
        self._among = (*ASSENT, *OBJECTIONS) if own and marked else ()

    @property
    def limit_ms(self) -> int:
        """A sound this long ends the answer, whatever it is."""
        turns = self._turns
        return max(turns.resume_ms, turns.backchannel_ms) if self._listens else turns.resume_ms

    async def ends_answer(self, sound: SpokenQuestion, length_ms: int) -> bool:
        """Return whether a sound that is over ends the answer it was heard in."""
        if length_ms >= self.limit_ms:
            return True
        told = await self._words(sound) if self._listens else None
        ends = None if told is None else objects(told)
        if ends is None:
            ends = length_ms >= self._turns.resume_ms
        self._assistant.services.recorder.observe(
            f"interruptions.{'ended' if ends else 'resumed'}", 1
        )
        return ends

    async def _words(self, sound: SpokenQuestion) -> str | None:
        """Return what was said, None when nobody can tell in time."""
        sampling = replace(self._assistant.settings.sampling, temperature=0.0)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                item = UserAudio.spoken("interruption", sound)
                heard = await self._assistant.words(
                    item, self._hints(), among=self._among, sampling=sampling
                )
        except (StepAudioError, TimeoutError) as error:
            _LOG.warning("an interruption was not understood", extra={"error": repr(error)})
            return None
        # An engine that does not hold the model to the phrases brings what it thought to hear.
        return heard.text if not self._among or heard.text in self._among else None
