"""A text model's answer read aloud by a second model, sentence by sentence: the cascade."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing

from step_audio.core.types import AudioChunk, Reasoning, TextDelta, TokenGroup, Transcript, Voice
from step_audio.dialog.response.turn import TurnEvent
from step_audio.dialog.speakable.sentences import SentenceSplitter

Read = Callable[[str, Voice], AsyncGenerator[TokenGroup | AudioChunk, None]]
"""Reads a text aloud: as token groups for the vocoder, or as sound."""

_FIRST_CHARS = 24
"""A first clause so long is read at once: somebody waits, and it takes longer to say than the
model needs for the rest of the sentence."""


class Cascade:
    """Adds speech to a turn that has only text.

    The text of a sentence comes out when its speech begins. So what a listener heard of an answer
    is known from its groups, as with a model that speaks itself. The text model goes on meanwhile:
    its ids wait in the engine's stream.
    """

    def __init__(self, read: Read, *, first_clause: bool = False) -> None:
        """Args: `first_clause`: the first clause of a turn is read before its sentence is over."""
        self._read, self._first_clause = read, _FIRST_CHARS if first_clause else None

    async def speak(
        self, events: AsyncGenerator[TurnEvent, None], voice: Voice
    ) -> AsyncGenerator[TurnEvent | AudioChunk, None]:
        """Yield the events of a turn, each sentence followed by its groups.

        Raises:
            EngineError: either engine broke or was late.
        """
        splitter, text = SentenceSplitter(first_clause=self._first_clause), ""
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Reasoning | Transcript):
                    yield event
                    continue
                if isinstance(event, TextDelta):
                    text += event.text
                    sentences = splitter.push(event.text)
                else:
                    sentences, splitter = splitter.flush(), SentenceSplitter()
                pieces, text = _pieces(text, sentences)
                async with aclosing(self._spoken(pieces, voice)) as spoken:
                    async for out in spoken:
                        yield out
                if not isinstance(event, TextDelta):
                    yield event
        pieces, _ = _pieces(text, splitter.flush())
        async with aclosing(self._spoken(pieces, voice)) as spoken:
            async for out in spoken:
                yield out

    async def _spoken(
        self, pieces: Iterable[str], voice: Voice
    ) -> AsyncGenerator[TextDelta | TokenGroup | AudioChunk, None]:
        for piece in pieces:
            yield TextDelta(piece)
            groups = self._read(piece, voice)
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
