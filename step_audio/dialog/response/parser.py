"""Generated ids -> text, groups, transcript, calls. By id range, never by counting.

A model that breaks the 10:15 rhythm, stops inside a group or mixes codebooks costs a few
groups and raises `anomalies`; it never breaks the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto

from step_audio.core.ports import Stage, TextTokenizer
from step_audio.core.types import (
    LINGUISTIC_PER_GROUP,
    TextDelta,
    TokenGroup,
    ToolCall,
    Transcript,
    VoiceChange,
)
from step_audio.core.vocab import GROUP_SIZE, Vocab

Parsed = TextDelta | TokenGroup | Transcript | ToolCall | VoiceChange
"""A parser makes all but the last, which a second model that reads aloud adds."""


class _Place(Enum):
    """Where in the turn the next id stands."""

    ANSWER = auto()
    HEARD = auto()
    CALL = auto()


@dataclass(slots=True)
class ParseCounts:
    """What one stream contained.

    Attributes:
        anomalies: ids dropped, or markers out of place.
        markers: ids around speech, passed over.
    """

    text_ids: int = 0
    groups: int = 0
    anomalies: int = 0
    markers: int = 0


class TokenParser:
    """Stage[int, TextDelta | TokenGroup | Transcript | ToolCall] for one assistant turn."""

    def __init__(
        self, text_tokenizer: TextTokenizer, vocab: Vocab, new_call_id: Callable[[], str]
    ) -> None:
        self._vocab = vocab
        odd = {vocab.heard_close, vocab.bos, vocab.bot, vocab.eot, vocab.eos}
        self._silent = vocab.audio_markers | odd
        self._text_tokenizer = text_tokenizer
        self._new_call_id = new_call_id
        self._decoder: Stage[int, str] = text_tokenizer.open_decoder()
        self._place = _Place.ANSWER
        self._aside: list[str] = []  # text of an open transcript or call
        self._group: list[int] = []
        self.counts = ParseCounts()

    def push(self, token_id: int, /) -> Iterable[Parsed]:
        """Take one generated id."""
        vocab = self._vocab
        if vocab.is_audio(token_id):
            return self._audio(token_id)
        if token_id == vocab.heard_open:
            return self._enter(_Place.HEARD)
        if token_id == vocab.call:
            return self._enter(_Place.CALL)
        if token_id == vocab.heard_close and self._place is _Place.HEARD:
            return self._enter(_Place.ANSWER)
        if token_id in self._silent:
            marker = token_id in vocab.audio_markers
            self.counts.markers += marker
            self.counts.anomalies += not marker
            return ()
        self.counts.text_ids += 1
        return self._text(self._decoder.push(token_id))

    def flush(self) -> Iterable[Parsed]:
        """End the turn: close what is open, drop an unfinished group."""
        self._drop_group()
        return self._enter(_Place.ANSWER)

    def _enter(self, place: _Place) -> list[Parsed]:
        """Close the current place and open `place` with a fresh decoder."""
        out: list[Parsed] = list(self._text(self._decoder.flush()))
        aside = "".join(self._aside).strip()
        if self._place is _Place.HEARD:
            out.append(Transcript(aside))
        elif self._place is _Place.CALL:
            name, _, arguments = aside.partition(" ")
            if name:
                out.append(ToolCall(self._new_call_id(), name, arguments.strip() or "{}"))
            else:
                self.counts.anomalies += 1
        self._aside = []
        self._place = place
        self._decoder = self._text_tokenizer.open_decoder()
        return out

    def _text(self, pieces: Iterable[str]) -> Iterable[Parsed]:
        if self._place is not _Place.ANSWER:
            self._aside += pieces
            return ()
        return [TextDelta(piece) for piece in pieces if piece]

    def _audio(self, token_id: int) -> Iterable[Parsed]:
        """Collect 2 linguistic then 3 semantic ids; a linguistic id may restart a group."""
        if self._vocab.is_linguistic(token_id):
            if len(self._group) == LINGUISTIC_PER_GROUP:
                # Semantic ids went missing: the newest two may be the start of a whole group.
                self._group = self._group[1:]
                self.counts.anomalies += 1
            elif len(self._group) > LINGUISTIC_PER_GROUP:
                self._drop_group()
        elif len(self._group) < LINGUISTIC_PER_GROUP:
            self._drop_group()
            self.counts.anomalies += 1
            return ()
        self._group.append(token_id)
        if len(self._group) < GROUP_SIZE:
            return ()
        group = self._vocab.group(self._group)
        self._group = []
        self.counts.groups += 1
        return (group,)

    def _drop_group(self) -> None:
        self.counts.anomalies += len(self._group)
        self._group = []
