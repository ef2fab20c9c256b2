"""Text read aloud by a speech model that takes text: a service with voices of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from step_audio.core.ports import SpeechModel
from step_audio.core.types import BATCH, AudioChunk, SamplingParams, Voice
from step_audio.dialog.response.token_stream import TokenTimeouts, in_time
from step_audio.dialog.speakable.markup import plain
from step_audio.dialog.speakable.sentences import sentences


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
        text: str,
        voice: Voice,
        sampling: SamplingParams,
        *,
        tags: tuple[str, ...] = (),
        priority: int = BATCH,
    ) -> AsyncGenerator[AudioChunk, None]:
        """Yield the sound of a text as it is made; the service reads numbers as it was taught.

        Raises:
            EngineError: the service broke or was late.
        """
        for sentence in sentences(text):
            said = plain(sentence)
            if not said:
                continue
            made = in_time(
                self._speech_model.read(said, voice.name), self._patience, "the speech service"
            )
            async with aclosing(made) as chunks:
                async for chunk in chunks:
                    yield chunk
