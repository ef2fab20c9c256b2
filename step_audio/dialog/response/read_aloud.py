"""Text read aloud in one voice, with the styles that its tags ask for."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from step_audio.core.delivery import SPEEDS, VOLUMES, open_delivery
from step_audio.core.errors import CannotSing, InputError
from step_audio.core.profile import LanguageCode
from step_audio.core.types import BATCH, AudioChunk, SamplingParams, Voice
from step_audio.dialog.response.speech_output import SpeechOutput
from step_audio.dialog.response.synthesizer import example_of
from step_audio.dialog.response.text_reader import TextReader
from step_audio.dialog.speakable.scripts import refuse_unreadable
from step_audio.dialog.speakable.style_tags import ReadingStyle, Style, styled


class ReadAloud:
    """Reads texts of any length. A style that the checkpoint does not know is done to the sound."""

    def __init__(
        self,
        synthesizer: TextReader,
        speech_output: SpeechOutput,
        sampling: SamplingParams,
        *,
        takes_style_tags: bool,
        sings: bool = False,
        model_name: str = "this model",
        languages: tuple[LanguageCode, ...] = (),
    ) -> None:
        self._synthesizer, self._speech_output, self._sampling = (
            synthesizer,
            speech_output,
            sampling,
        )
        self._takes_style_tags, self._sings = takes_style_tags, sings
        self._model_name = model_name
        self._languages = languages

    async def read(
        self, text: str, speaker: Voice, reading_style: ReadingStyle
    ) -> AsyncGenerator[AudioChunk, None]:
        """Yield a text as sound; closing the generator aborts the engine.

        Raises:
            EngineError; InputError: no letter to read, speed or volume out of range;
            UnreadableText: a sentence in letters that the model was not taught; CannotSing: a
            style that this deployment does not do.
        """
        spans = self.spans(text, reading_style.instructions)
        if not spans:
            raise InputError("there is nothing to say in this text; send words")
        for style, said in spans:
            async with aclosing(self._span(style, said, speaker, reading_style)) as chunks:
                async for chunk in chunks:
                    yield chunk

    def spans(self, text: str, instructions: str = "") -> list[tuple[Style, str]]:
        """Return a text in spans of one style. Raises UnreadableText, CannotSing."""
        spans = styled(text, instructions)
        for style, said in spans:
            if style.song and not self._sings:
                raise CannotSing(self._model_name, style.song)
            refuse_unreadable(said, self._languages)
        return spans

    async def _span(
        self, style: Style, text: str, speaker: Voice, reading_style: ReadingStyle
    ) -> AsyncGenerator[AudioChunk, None]:
        """Yield text of one style."""
        taught = self._takes_style_tags
        rate_hz = self._speech_output.rate_hz
        speed, volume = reading_style.speed, reading_style.volume
        if not (taught and style.tags):
            # What is asked is refused out of range; what a tag adds to it only stops there.
            speed = _with(speed, style.speed, SPEEDS)
            volume = _with(volume, style.volume, VOLUMES)
        delivery = open_delivery(rate_hz, speed=speed, volume=volume)
        groups = self._synthesizer.read(
            text, speaker, self._sampling, tags=style.tags if taught else ()
        )
        speaker = example_of(speaker, style.tags)
        worker = self._speech_output.worker
        spoken = self._speech_output.speak(
            groups, speaker, BATCH, seed=self._sampling.seed, singing=bool(style.song)
        )
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
