"""Text read aloud by a speech model that takes text: a service with voices of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing

from step_audio.core.ports import SpeechModel
from step_audio.core.types import BATCH, AudioChunk, SamplingParams, Voice
from step_audio.dialog.response.token_stream import TokenTimeouts, in_time
from step_audio.dialog.speakable.reader import SpokenSentence


class SpeechServiceReader:
    """A `TextReader` by such a model, sentence by sentence."""

    def __init__(
        self,
        speech_model: SpeechModel,
        patience: TokenTimeouts = TokenTimeouts(),  # noqa: B008 - frozen
    ) -> None:
        self._speech_model, self._patience = speech_model, patience

    async def read(
        self,
        sentences: AsyncIterable[SpokenSentence],
        voice: Voice,
        sampling: SamplingParams,
        *,
        tags: tuple[str, ...] = (),
        priority: int = BATCH,
    ) -> AsyncGenerator[AudioChunk, None]:
        """Yield the sound of sentences as it is made.

        Raises:
            EngineError: the service broke or was late.
        """
        async for sentence in sentences:
            made = in_time(
                self._speech_model.read(sentence.text, voice.name),
                self._patience,
                "the speech service",
            )
            async with aclosing(made) as chunks:
                async for chunk in chunks:
                    yield chunk
