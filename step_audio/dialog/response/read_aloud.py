"""Text read aloud in one voice, with the styles that its tags ask for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing

from step_audio.core.delivery import SPEEDS, VOLUMES, open_delivery
from step_audio.core.errors import CannotSing, InputError
from step_audio.core.types import BATCH, AudioChunk, SamplingParams, TextOptions, Voice
from step_audio.dialog.response.readings import Readings
from step_audio.dialog.response.speech_output import SpeechOutput
from step_audio.dialog.response.synthesizer import example_of
from step_audio.dialog.response.text_reader import TextReader
from step_audio.dialog.speakable.characters import has_words
from step_audio.dialog.speakable.reader import SentenceReader, SpokenSentence
from step_audio.dialog.speakable.style_tags import (
    PLAIN,
    ReadingStyle,
    Style,
    style_asked,
    styled,
)


class ReadAloud:
    """Reads texts of any length. A style that the checkpoint does not know is done to the sound."""

    def __init__(
        self,
        synthesizer: TextReader,
        readings: Readings,
        speech_output: SpeechOutput,
        sampling: SamplingParams,
        *,
        takes_style_tags: bool,
        sings: bool = False,
        manners: Collection[str] = (),
        model_name: str = "this model",
    ) -> None:
        self._synthesizer, self._speech_output, self._sampling = (
            synthesizer,
            speech_output,
            sampling,
        )
        self._readings = readings
        self._takes_style_tags, self._sings = takes_style_tags, sings
        self._manners = frozenset(manners)
        self._model_name = model_name

    def text_reader(
        self, reading_style: ReadingStyle, options: TextOptions | None = None
    ) -> SentenceReader:
        """Return the reader of a text that comes in pieces."""
        return self._readings.sentence_reader(options, reading_style.instructions)

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
            UnreadableText: a sentence in letters that the model was not taught; CannotSing: a
            style that this deployment does not do.
        """
        if not has_words(text):
            raise InputError("there is nothing to say in this text; send words")
        reader = self.text_reader(reading_style, options)
        await self.check(text, reading_style.instructions, options)
        readings = self._readings.whole(text, reader)
        async with aclosing(readings), aclosing(self.say(readings, speaker, reading_style)) as said:
            async for chunk in said:
                yield chunk

    async def check(
        self, text: str, instructions: str = "", options: TextOptions | None = None
    ) -> list[str]:
        """Return what is to be said of the parts of a text that are left out.

        Raises:
            UnreadableText, CannotSing: as `read`.
        """
        self.refuse_songs(text, instructions, options)
        return await self._readings.check(text, options)

    def refuse_songs(
        self, text: str, instructions: str = "", options: TextOptions | None = None
    ) -> None:
        """Refuse a text that asks for songs where there are none. Raises CannotSing."""
        tagged = options is None or options.style_tags
        styles = [style for style, _ in styled(text, instructions)] if tagged else []
        for style in (style_asked(instructions), *styles):
            if style.song and not self._can_sing(style):
                raise CannotSing(self._model_name, style.song)

    def _can_sing(self, style: Style) -> bool:
        return self._sings or bool(style.by_voice(self._manners).manners)

    async def say(
        self,
        readings: AsyncIterator[SpokenSentence],
        speaker: Voice,
        reading_style: ReadingStyle,
    ) -> AsyncGenerator[AudioChunk, None]:
        """Yield sentences as sound, those of one style in one breath.

        Raises:
            EngineError, CannotSing.
        """
        following = await anext(readings, None)
        while following is not None:
            if following.style.song and not self._can_sing(following.style):
                raise CannotSing(self._model_name, following.style.song)
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
        by_voice = PLAIN
        if not (taught and style.tags):
            # What is asked is refused out of range; what a tag adds to it only stops there.
            by_voice = style.by_voice(self._manners)
            speed = _with(speed, by_voice.speed, SPEEDS)
            volume = _with(volume, by_voice.volume, VOLUMES)
        delivery = open_delivery(rate_hz, speed=speed, volume=volume)
        sentences = span.sentences()
        tags = style.tags if taught else ()
        groups = self._synthesizer.read(sentences, speaker, self._sampling, tags=tags)
        speaker = example_of(speaker, style.tags)
        worker = self._speech_output.worker
        spoken = self._speech_output.speak(
            groups,
            speaker,
            BATCH,
            seed=self._sampling.seed,
            singing=bool(style.song) and self._sings,
            manner=by_voice.manners,
        )
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
