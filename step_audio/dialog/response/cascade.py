"""A text model's answer read aloud by a second model, sentence by sentence: the cascade."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable
from contextlib import aclosing

from step_audio.core.types import (
    LIVE,
    AudioChunk,
    Reasoning,
    SamplingParams,
    TextDelta,
    TokenGroup,
    Transcript,
    Voice,
    VoiceChange,
)
from step_audio.dialog.response.manner_turn import voice_change
from step_audio.dialog.response.readings import Readings
from step_audio.dialog.response.synthesizer import example_of
from step_audio.dialog.response.text_reader import TextReader
from step_audio.dialog.response.turn import TurnEvent
from step_audio.dialog.speakable.reader import SentenceReader
from step_audio.dialog.speakable.sentences import SentenceSplitter
from step_audio.dialog.speakable.style_tags import PLAIN, Style, StyleFinder, StyleTag

Heard = TurnEvent | AudioChunk | VoiceChange
"""What a turn is as it is read aloud."""

_FIRST_CHARS = 24
"""A first clause so long is read at once: somebody waits, and it takes longer to say than the
model needs for the rest of the sentence."""


class Cascade:
    """Adds speech to a turn that has only text.

    The text of a sentence comes out when its speech begins. So what a listener heard of an answer
    is known from its groups, as with a model that speaks itself. The text model goes on meanwhile:
    its ids wait in the engine's stream.

    Style tags that the text model writes are neither shown nor spoken: they are told to the second
    model, with the style that was asked for, in front of every sentence that they cover. In the
    history of the text model they stay, as in the reference's.
    """

    def __init__(
        self,
        reader: TextReader,
        readings: Readings,
        sampling: SamplingParams,
        *,
        takes_style_tags: bool = False,
        sings: bool = False,
        manners: Collection[str] = (),
        first_clause: bool = False,
    ) -> None:
        """Prepare.

        Args:
            reader: the second model.
            readings: of texts for it.
            sampling: of it.
            takes_style_tags, sings: what it can do.
            manners: what its voice does itself, where it knows no tags.
            first_clause: the first clause of a turn is read before its sentence is over.
        """
        self._reader, self._readings, self._sampling = reader, readings, sampling
        self._takes_style_tags, self._sings = takes_style_tags, sings
        self._manners = manners
        self.first_clause = _FIRST_CHARS if first_clause else None

    async def speak(
        self, events: AsyncGenerator[TurnEvent, None], voice: Voice, asked: Style = PLAIN
    ) -> AsyncGenerator[Heard, None]:
        """Yield the events of a turn, each sentence followed by its groups.

        Args:
            events: of the turn.
            voice: who speaks.
            asked: style of the whole turn; the text's own tags go before it.

        Raises:
            EngineError: either engine broke or was late.
        """
        turn = _SpokenTurn(self, voice, asked)
        async with aclosing(events):
            async for event in events:
                async with aclosing(turn.push(event)) as spoken:
                    async for out in spoken:
                        yield out
        async with aclosing(turn.end()) as spoken:
            async for out in spoken:
                yield out
        if turn.changed:
            yield turn.usual  # what follows the turn is spoken as it was asked

    async def written(
        self, events: AsyncGenerator[TurnEvent, None]
    ) -> AsyncGenerator[TurnEvent, None]:
        """Yield the events of a turn that is only shown, its tags beside its text."""
        finder, tags = StyleFinder(), ""
        async with aclosing(events):
            async for event in events:
                if not isinstance(event, TextDelta):
                    yield event
                    continue
                for item in finder.push(event.text):
                    if isinstance(item, StyleTag):
                        tags += item.written
                    else:
                        yield TextDelta(item, tags)
                        tags = ""
        for item in finder.flush():
            if isinstance(item, str):
                yield TextDelta(item, tags)
                tags = ""

    def tags(self, style: Style) -> tuple[str, ...]:
        """Return the tags of a style that the second model is told."""
        if not self._takes_style_tags or (style.song and not self._sings):
            return ()
        return style.tags

    def begin(self, voice: Voice, asked: Style) -> VoiceChange:
        """Return who speaks at the beginning of a turn in a style, and how."""
        if not self._takes_style_tags and self._manners:
            return voice_change(voice, asked, self._manners)
        return VoiceChange(voice)

    def speaker(self, voice: Voice, style: Style) -> VoiceChange:
        """Return who speaks in a style, and how."""
        tags = self.tags(style)
        if not self._takes_style_tags and self._manners:
            return voice_change(voice, style, self._manners)
        return VoiceChange(example_of(voice, tags), bool(tags and style.song))

    def answer_reader(self) -> SentenceReader:
        """Return the reader of an answer that comes in pieces."""
        return self._readings.answer_reader()

    async def read(
        self, text: str, voice: Voice, tags: tuple[str, ...], reader: SentenceReader | None = None
    ) -> AsyncGenerator[TokenGroup | AudioChunk, None]:
        """Yield the speech of a text, or of the next piece of the text of a reader."""
        if reader is None:
            readings = self._readings.whole(text, self.answer_reader())
        else:
            readings = self._readings.piece(text, reader)
        speech = self._reader.read(readings, voice, self._sampling, tags=tags, priority=LIVE)
        async with aclosing(readings), aclosing(speech):
            async for sound in speech:
                yield sound


class _SpokenTurn:
    """One turn on its way through a cascade."""

    def __init__(self, cascade: Cascade, voice: Voice, asked: Style) -> None:
        self._cascade, self._voice, self._asked = cascade, voice, asked
        self._style = asked
        self._finder = StyleFinder()
        self._splitter = SentenceSplitter(first_clause=cascade.first_clause)
        self._text, self._reader = "", cascade.answer_reader()
        self._tags = ""  # what the text model wrote in front of the next piece
        self.usual = self._speaking = cascade.begin(voice, asked)

    @property
    def changed(self) -> bool:
        """Whether another voice than the turn's own, or another manner, spoke last."""
        return not self._speaking.same_as(self.usual)

    async def push(self, event: TurnEvent) -> AsyncGenerator[Heard, None]:
        """Take an event of the turn and yield what is ready."""
        if isinstance(event, Reasoning | Transcript):
            yield event
            return
        if isinstance(event, TextDelta):
            async with aclosing(self._items(self._finder.push(event.text))) as spoken:
                async for out in spoken:
                    yield out
            return
        async with aclosing(self.end()) as spoken:
            async for out in spoken:
                yield out
        yield event

    async def end(self) -> AsyncGenerator[Heard, None]:
        """Yield what is left of the text."""
        async with aclosing(
            self._items([*self._finder.flush(), StyleTag(self._style, "")])
        ) as spoken:
            async for out in spoken:
                yield out

    async def _items(self, items: Iterable[str | StyleTag]) -> AsyncGenerator[Heard, None]:
        for item in items:
            if isinstance(item, StyleTag):
                sentences, self._splitter = self._splitter.flush(), SentenceSplitter()
            else:
                self._text += item
                sentences = self._splitter.push(item)
            pieces, self._text = _pieces(self._text, sentences)
            for piece in pieces:
                async with aclosing(self._spoken(piece)) as spoken:
                    async for out in spoken:
                        yield out
            if isinstance(item, StyleTag) and item.written:
                self._style = self._asked.with_more(item.style)
                self._tags += item.written

    async def _spoken(self, piece: str) -> AsyncGenerator[Heard, None]:
        tags = self._cascade.tags(self._style)
        speaking = self._cascade.speaker(self._voice, self._style)
        if not speaking.same_as(self._speaking):
            self._speaking = speaking
            yield self._speaking
        yield TextDelta(piece, self._tags)
        self._tags = ""
        async with aclosing(self._cascade.read(piece, self._voice, tags, self._reader)) as groups:
            async for group in groups:
                yield group


def _pieces(text: str, sentences: Iterable[str]) -> tuple[list[str], str]:
    """Return the text up to the end of each sentence, with the spaces before it, and the rest."""
    pieces = []
    for sentence in sentences:
        end = text.index(sentence) + len(sentence)
        pieces.append(text[:end])
        text = text[end:]
    return pieces, text
