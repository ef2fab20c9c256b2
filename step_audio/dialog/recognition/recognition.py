"""A deployment's speech recognizer: a question is recognized once, whoever asks for its words."""

from __future__ import annotations

import asyncio

from step_audio.core.ports import Clock, RecognitionHints, Recorder, SpeechRecognizer
from step_audio.core.types import Pcm, Transcript
from step_audio.dialog.recognition.speech import SPEECH_HZ, RecognizedSoFar, Speech, joined

NO_HINTS = RecognitionHints()


class Recognition:
    """Shared by every session.

    Attributes:
        live: whether questions are recognized while they are spoken.
    """

    def __init__(
        self, recognizer: SpeechRecognizer, clock: Clock, recorder: Recorder, *, live: bool = True
    ) -> None:
        self.live = live
        self._recognizer, self._clock, self._recorder = recognizer, clock, recorder

    def begin(self, speech: Speech, hints: RecognitionHints = NO_HINTS) -> asyncio.Task[Transcript]:
        """Return what finds the words of a question; it is begun by the first call."""
        if speech.words is None:
            speech.words = asyncio.create_task(self._all(speech, hints), name="recognition")
            speech.words.add_done_callback(_seen)
        return speech.words

    async def words(self, speech: Speech, hints: RecognitionHints = NO_HINTS) -> Transcript:
        """Return the words of a question. Cancelling stops the wait only. Raises EngineError."""
        asked_s = self._clock.now_s()
        heard = await asyncio.shield(self.begin(speech, hints))
        self._recorder.observe("recognition_wait_s", self._clock.now_s() - asked_s)
        return heard

    async def first_words(self, speech: Speech, hints: RecognitionHints) -> str:
        """Return what a pass finds in the beginning of a question, after what is settled.

        It gives way to questions that are over.

        Raises:
            EngineError.
        """
        self._recorder.observe("recognition_passes.live", 1)
        heard = await self._recognizer.recognize(
            speech.unsettled, SPEECH_HZ, speech.so_far.hints(hints), live=True
        )
        return heard.text

    async def recording(self, pcm: Pcm, rate_hz: int, hints: RecognitionHints) -> Transcript:
        """Return the words of a recording of at most half a minute. Raises EngineError."""
        self._recorder.observe("recognition_passes.recording", 1)
        return await self._recognizer.recognize(pcm, rate_hz, hints)

    async def _all(self, speech: Speech, hints: RecognitionHints) -> Transcript:
        so_far: RecognizedSoFar = speech.so_far
        pcm, settled = speech.unsettled, so_far.settled
        if not len(pcm):
            return settled
        self._recorder.observe("recognition_passes.question", 1)
        begun_s = self._clock.now_s()
        heard = await self._recognizer.recognize(pcm, SPEECH_HZ, so_far.hints(hints))
        self._recorder.observe("recognition_s", self._clock.now_s() - begun_s)
        return Transcript(joined(settled.text, heard.text), settled.language or heard.language)


def _seen(task: asyncio.Task[Transcript]) -> None:
    """Take note of an error that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
