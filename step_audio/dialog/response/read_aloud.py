"""Text read aloud in one voice, with the styles that its tags ask for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from step_audio.core.delivery import SPEEDS, VOLUMES, open_delivery
from step_audio.core.errors import InputError
from step_audio.core.types import BATCH, SamplingParams, TextOptions, Voice
from step_audio.dialog.response.pipeline import AudioChunk
from step_audio.dialog.response.speech_output import SpeechOutput
from step_audio.dialog.response.synthesizer import SpeechSynthesizer
from step_audio.dialog.speakable.characters import has_words
from step_audio.dialog.speakable.reader import SpokenSentence, TextReader
from step_audio.dialog.speakable.style_tags import ReadingStyle


class ReadAloud:
    """Reads texts of any length. A style that the checkpoint does not know is done to the sound."""

    def __init__(
        self,
        synthesizer: SpeechSynthesizer,
        speech_output: SpeechOutput,
        sampling: SamplingParams,
        *,
        takes_style_tags: bool,
    ) -> None:
        self._synthesizer, self._speech_output, self._sampling = (
            synthesizer,
            speech_output,
            sampling,
        )
        self._takes_style_tags = takes_style_tags

    def text_reader(
        self, reading_style: ReadingStyle, options: TextOptions | None = None
    ) -> TextReader:
        """Return the reader of a text that comes in pieces."""
        return self._synthesizer.text_reader(options, reading_style.instructions)

    async def read(
        self,
        text: str,
        speaker: Voice,
        reading_style: ReadingStyle,
        options: TextOptions | None = None,
    ) -> AsyncGenerator[AudioChunk, None]:
        """Yield a text as sound; closing the generator aborts the engine.

        Raises:
            EngineError; InputError: no letter to read, speed or volume out of range;
            UnreadableText: a sentence in letters that the model was not taught.
        """
        if not has_words(text):
            raise InputError("there is nothing to say in this text; send words")
        reader = self.text_reader(reading_style, options)
        await self._synthesizer.check(text, options)
        readings = self._synthesizer.readings(text, reader)
        async with aclosing(readings), aclosing(self.say(readings, speaker, reading_style)) as said:
            async for chunk in said:
                yield chunk

    async def say(
        self,
        readings: AsyncIterator[SpokenSentence],
        speaker: Voice,
        reading_style: ReadingStyle,
    ) -> AsyncGenerator[AudioChunk, None]:
        """Yield sentences as sound, those of one style in one breath. Raises EngineError."""
        following = await anext(readings, None)
        while following is not None:
            span = _StyleSpan(following, readings)
            async with aclosing(self._span(span, speaker, reading_style)) as chunks:
                async for chunk in chunks:
                    yield chunk
            following = span.following

    async def _span(
        self, span: _StyleSpan, speaker: Voice, reading_style: ReadingStyle
    ) -> AsyncGenerator[AudioChunk, None]:
        """Yield text of one style."""
        taught, style = self._takes_style_tags, span.style
        rate_hz = self._speech_output.rate_hz
        speed, volume = reading_style.speed, reading_style.volume
        if not (taught and style.tag):
            # What is asked is refused out of range; what a tag adds to it only stops there.
            speed = _with(speed, style.speed, SPEEDS)
            volume = _with(volume, style.volume, VOLUMES)
        delivery = open_delivery(rate_hz, speed=speed, volume=volume)
        sentences = span.sentences()
        groups = self._synthesizer.spoken(sentences, speaker, self._sampling, tagged=taught)
        worker = self._speech_output.worker
        spoken = self._speech_output.speak(groups, speaker, BATCH, seed=self._sampling.seed)
        async with aclosing(sentences), aclosing(spoken) as events:
            async for event in events:
                if isinstance(event, AudioChunk):
                    for pcm in await worker.push(delivery, event.pcm, BATCH):
                        yield AudioChunk(pcm, rate_hz)
        for pcm in await worker.flush(delivery, BATCH):
            yield AudioChunk(pcm, rate_hz)


class _StyleSpan:
    """Sentences up to the first of another style, which is `following` then; None at the end."""

    def __init__(self, first: SpokenSentence, rest: AsyncIterator[SpokenSentence]) -> None:
        self.style = first.style
        self.following: SpokenSentence | None = None
        self._first, self._rest = first, rest

    async def sentences(self) -> AsyncGenerator[SpokenSentence, None]:
        yield self._first
        async for sentence in self._rest:
            if sentence.style != self.style:
                self.following = sentence
                return
            yield sentence


def _with(asked: float, tagged: float, limits: tuple[float, float]) -> float:
    """Return both factors together, within limits where a tag has a part in it."""
    return asked if tagged == 1.0 else min(max(asked * tagged, limits[0]), limits[1])
