"""A text model's answer read aloud by a second model, sentence by sentence: the cascade."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from step_audio.core.types import LIVE, SamplingParams, TextDelta, TokenGroup, Voice
from step_audio.dialog.response.parser import Parsed
from step_audio.dialog.response.synthesizer import SpeechSynthesizer
from step_audio.dialog.speakable.reader import TextReader
from step_audio.dialog.speakable.sentences import SentenceSplitter


class Cascade:
    """Adds speech to a turn that has only text.

    The text of a sentence comes out when its speech begins. So what a listener heard of an answer
    is known from its groups, as with a model that speaks itself. The text model goes on meanwhile:
    its ids wait in the engine's stream.
    """

    def __init__(self, synthesizer: SpeechSynthesizer, sampling: SamplingParams) -> None:
        self._synthesizer, self._sampling = synthesizer, sampling

    async def speak(
        self, events: AsyncGenerator[Parsed, None], voice: Voice
    ) -> AsyncGenerator[Parsed, None]:
        """Yield the events of a turn, each sentence followed by its groups.

        Raises:
            EngineError: either engine broke or was late.
        """
        splitter, text, reader = SentenceSplitter(), "", self._synthesizer.answer_reader()
        async with aclosing(events):
            async for event in events:
                if isinstance(event, TextDelta):
                    text += event.text
                    sentences = splitter.push(event.text)
                else:
                    sentences, splitter = splitter.flush(), SentenceSplitter()
                pieces, text = _pieces(text, sentences)
                async with aclosing(self._spoken(pieces, voice, reader)) as spoken:
                    async for out in spoken:
                        yield out
                if not isinstance(event, TextDelta):
                    yield event
        pieces, _ = _pieces(text, splitter.flush())
        async with aclosing(self._spoken(pieces, voice, reader)) as spoken:
            async for out in spoken:
                yield out

    async def _spoken(
        self, pieces: Iterable[str], voice: Voice, reader: TextReader
    ) -> AsyncGenerator[TextDelta | TokenGroup, None]:
        for piece in pieces:
            yield TextDelta(piece)
            groups = self._synthesizer.groups(
                piece, voice, self._sampling, reader=reader, priority=LIVE
            )
            async with aclosing(groups):
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
