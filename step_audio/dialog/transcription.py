"""The words of a recording, by the recognizer or by the model that also answers."""

from __future__ import annotations

from step_audio.core.ports import RecognitionHints
from step_audio.core.types import Pcm, Transcript
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.conversation import UserAudio
from step_audio.dialog.recognition.recognition import NO_HINTS
from step_audio.dialog.turns.utterance import SpokenQuestion


async def spoken_in(assistant: Assistant, pcm: Pcm, rate_hz: int) -> SpokenQuestion:
    """Return a recording as a question; other streams are heard in between.

    Raises:
        AudioError: longer than a question may be.
    """
    question = assistant.question(rate_hz)
    for start in range(0, len(pcm), rate_hz):
        await assistant.listen(question, pcm[start : start + rate_hz])
    return await assistant.finish(question)


class RecordingTranscriber:
    """Words of recordings, by whoever hears in a deployment.

    Args:
        hints: what is known of the recordings; models without a recognizer take none.
    """

    def __init__(self, assistant: Assistant, hints: RecognitionHints = NO_HINTS) -> None:
        self._assistant, self._hints = assistant, hints

    async def transcribe(self, pcm: Pcm, rate_hz: int) -> str:
        """Return the words, "" for none.

        Raises:
            AudioError: longer than a question may be.
            EngineError: the engine broke or was late.
        """
        return (await self.heard(pcm, rate_hz)).text

    async def heard(self, pcm: Pcm, rate_hz: int) -> Transcript:
        """Return the words and, where it is known, their language. Raises as `transcribe`."""
        question = await spoken_in(self._assistant, pcm, rate_hz)
        return await self._assistant.words(UserAudio.spoken("recording", question), self._hints)
