"""Words while they are spoken: passes of a recognizer over an utterance that grows.

So what is left to do when the person stops is one short pass, begun in the pause that ends the
turn. What two passes agree on is shown at once.

Source of the agreement: LocalAgreement-2, Liu et al., arXiv:2005.11185.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from step_audio.core.errors import StepAudioError
from step_audio.core.ports import RecognitionHints
from step_audio.core.types import Transcript
from step_audio.dialog.recognition.recognition import Recognition
from step_audio.dialog.recognition.speech import SETTLE_S, SPEECH_HZ, Speech
from step_audio.dialog.turns.utterance import SpokenQuestion, Utterance

_LOG = logging.getLogger(__name__)

_EVERY_S: Final = 0.6
"""Of new speech between two passes, at least."""
_SHARE: Final = 0.5
"""Of the time, at most, that passes may take: a slow machine makes fewer."""


class LiveRecognition:
    """For one session: one pass at a time over what is being said.

    Args:
        recognition: shared by all sessions.
        on_words: told what is new of an utterance's words, which will not change.
    """

    def __init__(self, recognition: Recognition, on_words: Callable[[str], None]) -> None:
        self._recognition, self._on_words = recognition, on_words
        self._pass: asyncio.Task[None] | None = None
        self._question: Utterance | None = None
        self._paused: Speech | None = None
        self._covered_ms = 0
        self._every_s = _EVERY_S

    def follow(self, question: Utterance, hints: RecognitionHints) -> None:
        """Begin a pass over what was said so far, if one is due; never waits."""
        if question is not self._question:
            self._question, self._covered_ms, self._paused = question, 0, None
        new_ms = question.duration_ms - self._covered_ms
        at_work = self._pass is not None and not self._pass.done()
        if at_work or self._paused is not None or new_ms < self._every_s * 1000:
            return
        speech = question.speech
        if speech is None or not self._recognition.live:
            return
        self._covered_ms = question.duration_ms
        self._pass = asyncio.create_task(
            self._first_words(question, speech, hints), name="recognition.pass"
        )

    def pause(self, question: SpokenQuestion, hints: RecognitionHints) -> None:
        """Begin to find all words: the person may have said all."""
        if question.speech is not None and self._recognition.live:
            self._paused = question.speech
            self._recognition.begin(question.speech, hints)

    def resume(self) -> None:
        """The person goes on after a pause: what was said before it is not recognized again."""
        paused, self._paused = self._paused, None
        if paused is None or paused.words is None or self._question is None:
            return
        if len(paused.unsettled) >= SETTLE_S * SPEECH_HZ:
            question = self._question
            paused.words.add_done_callback(lambda done: self._settle(question, paused, done))

    async def words(self, within_s: float) -> str | None:
        """Return what was said up to the pause, None where there is none, or not in time."""
        paused = self._paused
        if paused is None or paused.words is None:
            return None
        done, _ = await asyncio.wait([paused.words], timeout=within_s)
        failed = not done or paused.words.cancelled() or paused.words.exception() is not None
        return None if failed else paused.words.result().text

    async def close(self) -> None:
        """Stop what is under way."""
        self._question = None
        if self._pass is not None:
            self._pass.cancel()
            await asyncio.wait([self._pass])

    async def _first_words(
        self, question: Utterance, speech: Speech, hints: RecognitionHints
    ) -> None:
        loop = asyncio.get_running_loop()
        begun_s, settled = loop.time(), speech.so_far.settled_samples
        try:
            found = await self._recognition.first_words(speech, hints)
        except StepAudioError as error:
            # The words of the whole question are asked for anyway, and then it is told.
            _LOG.debug("pass failed", extra={"error": str(error)})
            return
        self._every_s = max(_EVERY_S, (loop.time() - begun_s) / _SHARE)
        if question is self._question and speech.so_far.settled_samples == settled:
            self._show(speech.so_far.passed(found))

    def _settle(self, question: Utterance, paused: Speech, done: asyncio.Task[Transcript]) -> None:
        if question is self._question and not done.cancelled() and done.exception() is None:
            self._show(paused.so_far.settle(done.result(), len(paused.pcm)))

    def _show(self, words: str) -> None:
        if words:
            self._on_words(words)
