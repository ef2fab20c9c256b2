"""A text model's answer read aloud by a second model, sentence by sentence: the cascade."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from step_audio.core.types import (
    LIVE,
    SamplingParams,
    TextDelta,
    TokenGroup,
    Voice,
    VoiceChange,
)
from step_audio.dialog.response.parser import Parsed
from step_audio.dialog.response.synthesizer import SpeechSynthesizer, example_of
from step_audio.dialog.speakable.reader import SentenceReader
from step_audio.dialog.speakable.sentences import SentenceSplitter
from step_audio.dialog.speakable.style_tags import PLAIN, Style, StyleFinder


class Cascade:
    """Adds speech to a turn that has only text.

    The text of a sentence comes out when its speech begins. So what a listener heard of an answer
    is known from its groups, as with a model that speaks itself. The text model goes on meanwhile:
    its ids wait in the engine's stream.

    Style tags that the text model writes are neither shown nor spoken: they are told to the second
    model, with the style that was asked for, in front of every sentence that they cover.
    """

    def __init__(
        self,
        synthesizer: SpeechSynthesizer,
        sampling: SamplingParams,
        *,
        takes_style_tags: bool = False,
        sings: bool = False,
    ) -> None:
        """Args: `takes_style_tags`, `sings`: what the second model can do."""
        self._synthesizer, self._sampling = synthesizer, sampling
        self._takes_style_tags, self._sings = takes_style_tags, sings

    async def speak(
        self, events: AsyncGenerator[Parsed, None], voice: Voice, asked: Style = PLAIN
    ) -> AsyncGenerator[Parsed, None]:
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
            yield VoiceChange(voice)  # what follows the turn is spoken as usual

    async def written(self, events: AsyncGenerator[Parsed, None]) -> AsyncGenerator[Parsed, None]:
        """Yield the events of a turn that is only shown, without its tags."""
        finder = StyleFinder()
        async with aclosing(events):
            async for event in events:
                if not isinstance(event, TextDelta):
                    yield event
                    continue
                for item in finder.push(event.text):
                    if isinstance(item, str):
                        yield TextDelta(item)
        for item in finder.flush():
            if isinstance(item, str):
                yield TextDelta(item)

    def tags(self, style: Style) -> tuple[str, ...]:
        """Return the tags of a style that the second model is told."""
        if not self._takes_style_tags or (style.song and not self._sings):
            return ()
        return style.tags

    def text_reader(self) -> SentenceReader:
        """Return the reader of an answer that comes in pieces."""
        return self._synthesizer.answer_reader()

    def read(
        self, text: str, voice: Voice, tags: tuple[str, ...], reader: SentenceReader | None = None
    ) -> AsyncGenerator[TokenGroup, None]:
        """Yield the groups of a text, or of the next piece of the text of a reader."""
        return self._synthesizer.groups(
            text, voice, self._sampling, tags=tags, reader=reader, priority=LIVE
        )


class _SpokenTurn:
    """One turn on its way through a cascade."""

    def __init__(self, cascade: Cascade, voice: Voice, asked: Style) -> None:
        self._cascade, self._voice, self._asked = cascade, voice, asked
        self._style = asked
        self._finder, self._splitter = StyleFinder(), SentenceSplitter()
        self._reader, self._text = cascade.text_reader(), ""
        self._speaking = VoiceChange(voice)

    @property
    def changed(self) -> bool:
        """Whether another voice than the turn's own spoke last."""
        return self._speaking.singing or self._speaking.voice is not self._voice

    async def push(self, event: Parsed) -> AsyncGenerator[Parsed, None]:
        """Take an event of the turn and yield what is ready."""
        if isinstance(event, TextDelta):
            async with aclosing(self._items(self._finder.push(event.text))) as spoken:
                async for out in spoken:
                    yield out
            return
        async with aclosing(self.end()) as spoken:
            async for out in spoken:
                yield out
        yield event

    async def end(self) -> AsyncGenerator[Parsed, None]:
        """Yield what is left of the text."""
        async with aclosing(self._items([*self._finder.flush(), self._style])) as spoken:
            async for out in spoken:
                yield out

    async def _items(self, items: Iterable[str | Style]) -> AsyncGenerator[Parsed, None]:
        for item in items:
            if isinstance(item, Style):
                sentences, self._splitter = self._splitter.flush(), SentenceSplitter()
            else:
                self._text += item
                sentences = self._splitter.push(item)
            pieces, self._text = _pieces(self._text, sentences)
            for piece in pieces:
                async with aclosing(self._spoken(piece)) as spoken:
                    async for out in spoken:
                        yield out
            if isinstance(item, Style) and item is not self._style:
                self._style = self._asked.with_more(item)

    async def _spoken(self, piece: str) -> AsyncGenerator[Parsed, None]:
        tags = self._cascade.tags(self._style)
        voice, singing = example_of(self._voice, tags), bool(tags and self._style.song)
        if voice is not self._speaking.voice or singing != self._speaking.singing:
            self._speaking = VoiceChange(voice, singing)
            yield self._speaking
        yield TextDelta(piece)
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
