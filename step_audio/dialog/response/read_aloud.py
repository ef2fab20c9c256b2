"""Text read aloud in one voice, with the styles that its tags ask for."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from step_audio.core.delivery import SPEEDS, VOLUMES, open_delivery
from step_audio.core.errors import InputError
from step_audio.core.profile import LanguageCode
from step_audio.core.types import BATCH, AudioChunk, SamplingParams, TokenGroup, Voice
from step_audio.dialog.response.speech_output import SpeechOutput
from step_audio.dialog.speakable.scripts import refuse_unreadable
from step_audio.dialog.speakable.style_tags import ReadingStyle, Style, styled


class TextReader(Protocol):
    """Reads a text in one voice: as token groups for the vocoder, or as sound."""

    def read(
        self,
        text: str,
        voice: Voice,
        sampling: SamplingParams,
        *,
        tag: str = "",
        priority: int = BATCH,
    ) -> AsyncGenerator[TokenGroup | AudioChunk, None]: ...


class ReadAloud:
    """Reads texts of any length. A style that the checkpoint does not know is done to the sound."""

    def __init__(
        self,
        synthesizer: TextReader,
        speech_output: SpeechOutput,
        sampling: SamplingParams,
        *,
        takes_style_tags: bool,
        languages: tuple[LanguageCode, ...] = (),
    ) -> None:
        self._synthesizer, self._speech_output, self._sampling = (
            synthesizer,
            speech_output,
            sampling,
        )
        self._takes_style_tags = takes_style_tags
        self._languages = languages

    async def read(
        self, text: str, speaker: Voice, reading_style: ReadingStyle
    ) -> AsyncGenerator[AudioChunk, None]:
        """Yield a text as sound; closing the generator aborts the engine.

        Raises:
            EngineError; InputError: no letter to read, speed or volume out of range;
            UnreadableText: a sentence in letters that the model was not taught.
        """
        spans = styled(text, reading_style.instructions)
        if not spans:
            raise InputError("there is nothing to say in this text; send words")
        for _, said in spans:
            refuse_unreadable(said, self._languages)
        for style, said in spans:
            async with aclosing(self._span(style, said, speaker, reading_style)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def _span(
        self, style: Style, text: str, speaker: Voice, reading_style: ReadingStyle
    ) -> AsyncGenerator[AudioChunk, None]:
        """Yield text of one style."""
        taught = self._takes_style_tags
        rate_hz = self._speech_output.rate_hz
        speed, volume = reading_style.speed, reading_style.volume
        if not (taught and style.tag):
            # What is asked is refused out of range; what a tag adds to it only stops there.
            speed = _with(speed, style.speed, SPEEDS)
            volume = _with(volume, style.volume, VOLUMES)
        delivery = open_delivery(rate_hz, speed=speed, volume=volume)
        groups = self._synthesizer.read(
            text, speaker, self._sampling, tag=style.tag if taught else ""
        )
        worker = self._speech_output.worker
        spoken = self._speech_output.speak(groups, speaker, BATCH, seed=self._sampling.seed)
        async with aclosing(spoken) as events:
            async for event in events:
                if isinstance(event, AudioChunk):
                    for pcm in await worker.push(delivery, event.pcm, BATCH):
                        yield AudioChunk(pcm, rate_hz)
        for pcm in await worker.flush(delivery, BATCH):
            yield AudioChunk(pcm, rate_hz)


def _with(asked: float, tagged: float, limits: tuple[float, float]) -> float:
    """Return both factors together, within limits where a tag has a part in it."""
    return asked if tagged == 1.0 else min(max(asked * tagged, limits[0]), limits[1])
