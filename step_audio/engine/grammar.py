"""Which ids may follow: text, groups of 2 + 3 audio ids, transcript, tool call, end of turn.

One table, no state, no torch: the local engine and the processor inside vLLM both ask it. It lets
through what `dialog.response.parser` reads without an anomaly, and nothing else; the rhythm
of ten text ids to fifteen audio ids is the model's own.

    state = Position.START
    ranges = grammar.allowed(state)       # what may be drawn
    state = grammar.follow(state, drawn)  # after the draw

A client may ask for a call, of certain tools too, or for none: `CallRule`. Whoever only asks which
of some phrases was said has the transcript be one of them.

Source: the token layout of the Step-Audio report, arXiv:2502.11946, and of Step-Audio-AQAA,
arXiv:2506.08967.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import Enum, auto
from functools import cached_property
from itertools import pairwise
from typing import Any, Final, get_args

from step_audio.core.errors import InputError, TokenError
from step_audio.core.types import CallRule, Form
from step_audio.core.vocab import AUDIO_SIZE, LINGUISTIC_SIZE, Vocab

Range = tuple[int, int]
"""Half-open: first id, and the id after the last one."""


class Position(Enum):
    """Where in its turn the model is."""

    START = auto()
    """Nothing drawn yet."""
    HEARD = auto()
    """Inside the transcript of the question."""
    ANSWER = auto()
    """After the transcript, a text id or a whole group."""
    DUE = auto()
    """After the transcript, where a tool call has to come."""
    NAME = auto()
    """After the marker of a tool call, which has to name a tool."""
    CALL = auto()
    """Inside a tool call, which runs to the end of the turn."""
    ONE = auto()
    """So many ids of a group are drawn."""
    TWO = auto()
    THREE = auto()
    FOUR = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class Opening:
    """In front of the arguments of a call to one of several tools; `ids` of it are drawn."""

    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Dictated:
    """Inside a transcript that is one of several phrases; `ids` of it are drawn."""

    ids: tuple[int, ...] = ()


State = Position | Opening | Dictated


class Kind(Enum):
    """What an id is."""

    TEXT = auto()
    LINGUISTIC = auto()
    SEMANTIC = auto()
    HEARD_OPEN = auto()
    HEARD_CLOSE = auto()
    CALL = auto()
    END = auto()


P, K = Position, Kind

TABLE: Final[dict[tuple[Position, Kind], Position]] = {
    (P.START, K.TEXT): P.ANSWER,
    (P.START, K.LINGUISTIC): P.ONE,
    (P.START, K.HEARD_OPEN): P.HEARD,
    (P.START, K.CALL): P.NAME,
    (P.START, K.END): P.END,
    (P.HEARD, K.TEXT): P.HEARD,
    (P.HEARD, K.HEARD_CLOSE): P.ANSWER,
    (P.ANSWER, K.TEXT): P.ANSWER,
    (P.ANSWER, K.LINGUISTIC): P.ONE,
    (P.ANSWER, K.CALL): P.NAME,
    (P.ANSWER, K.END): P.END,
    (P.DUE, K.CALL): P.NAME,
    (P.NAME, K.TEXT): P.CALL,
    (P.CALL, K.TEXT): P.CALL,
    (P.CALL, K.END): P.END,
    (P.ONE, K.LINGUISTIC): P.TWO,
    (P.TWO, K.SEMANTIC): P.THREE,
    (P.THREE, K.SEMANTIC): P.FOUR,
    (P.FOUR, K.SEMANTIC): P.ANSWER,
}
"""A row that is not here is not allowed."""

_NAMED: Final = tuple(f.name for f in fields(Vocab) if f.name != "hears_semantic")
_SOUND: Final = frozenset({K.LINGUISTIC, K.SEMANTIC})
_KINDS: Final[Mapping[Form, frozenset[Kind]]] = {
    "answer": frozenset(Kind),
    "text": frozenset(Kind) - _SOUND,
    "speech": _SOUND | {K.END},
}


@dataclass(frozen=True)
class Grammar:
    """The table for one vocabulary and one form of answer. Shared, immutable.

    Attributes:
        vocab: which id is what.
        form: "answer" is text and sound, "text" and "speech" one of them alone.
        calls: whether a tool is called; None: as the model likes.
        transcripts: the transcript that begins the answer is one of these; none: it is free.
    """

    vocab: Vocab
    form: Form = "answer"
    calls: CallRule | None = None
    transcripts: tuple[tuple[int, ...], ...] = ()

    def kind(self, token_id: int) -> Kind | None:
        """Return what an id is; None: an id that a model never writes, such as `<|BOT|>`."""
        vocab = self.vocab
        if vocab.is_linguistic(token_id):
            return K.LINGUISTIC
        if vocab.is_audio(token_id):
            return K.SEMANTIC
        if token_id in self._marked:
            return self._marked[token_id]
        return K.TEXT if 0 <= token_id < vocab.audio_base else None

    def follow(self, place: State, token_id: int) -> State:
        """Return where the model is after one more id. Raises TokenError: not allowed there."""
        if isinstance(place, Opening):
            return self._opened((*place.ids, token_id))
        if isinstance(place, Dictated):
            return self._dictated(place.ids, token_id)
        kind = self.kind(token_id)
        if kind is None or kind not in self._kinds(place):
            raise TokenError(f"id {token_id} may not follow in place {place.name}")
        if kind is K.HEARD_OPEN and self.transcripts:
            return Dictated()
        if self.calls is not None and self.calls.must:
            if kind is K.CALL and self.calls.openings:
                return Opening()
            if kind is K.HEARD_CLOSE:
                return P.DUE
        return TABLE[place, kind]

    def after(self, ids: Iterable[int], place: State = Position.START) -> State:
        """Return where the model is after these ids. Raises TokenError: one is not allowed."""
        for token_id in ids:
            place = self.follow(place, token_id)
        return place

    def allowed(self, place: State) -> tuple[Range, ...]:
        """Return the ids that may follow, as ranges in rising order that do not touch.

        Empty only after the end of the turn, or in a place that the form never reaches.
        """
        if isinstance(place, Opening):
            begun = len(place.ids)
            return _joined((i, i + 1) for i in {o[begun] for o in self._openings(place.ids)})
        if isinstance(place, Dictated):
            return _joined((i, i + 1) for i in self._next_dictated(place.ids))
        return self._ranges[place]

    def _opened(self, ids: tuple[int, ...]) -> State:
        """Return where the model is after these ids behind the marker of a call."""
        begun = self._openings(ids)
        if not begun:
            raise TokenError(f"id {ids[-1]} may not follow in the name of a tool")
        return P.CALL if ids in begun else Opening(ids)

    def _dictated(self, ids: tuple[int, ...], token_id: int) -> State:
        """Return where the model is after one more id of a transcript."""
        if token_id not in self._next_dictated(ids):
            raise TokenError(f"id {token_id} may not follow in the transcript")
        return P.ANSWER if token_id == self.vocab.heard_close else Dictated((*ids, token_id))

    def _next_dictated(self, ids: tuple[int, ...]) -> set[int]:
        """Return the ids that continue a transcript, and the one that ends it when it is whole."""
        begun = [known for known in self.transcripts if known[: len(ids)] == ids]
        following = {known[len(ids)] for known in begun if len(known) > len(ids)}
        close = self.vocab.heard_close
        return following | ({close} if ids in begun and close is not None else set())

    def _openings(self, ids: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return the openings that begin with these ids."""
        openings = self.calls.openings if self.calls else ()
        return [opening for opening in openings if opening[: len(ids)] == ids]

    def _kinds(self, place: Position) -> frozenset[Kind]:
        """Return the kinds of ids that may follow."""
        kinds = frozenset(kind for at, kind in TABLE if at is place) & _KINDS[self.form]
        if self.transcripts and place is P.START:
            return kinds & {K.HEARD_OPEN}
        if self.calls is not None and not self.calls.must:
            return kinds - {K.CALL}
        if self.calls is not None and place is P.START:
            return kinds & {K.HEARD_OPEN, K.CALL}
        return kinds

    @cached_property
    def _marked(self) -> Mapping[int, Kind | None]:
        """Ids that are no ordinary text; markers around speech may stand wherever text may."""
        vocab = self.vocab
        marked: dict[int | None, Kind | None] = {
            vocab.bos: None,
            vocab.bot: None,
            vocab.heard_open: K.HEARD_OPEN,
            vocab.heard_close: K.HEARD_CLOSE,
            vocab.call: K.CALL,
            vocab.eot: K.END,
            vocab.eos: K.END,
            vocab.audio_start: K.TEXT,
            vocab.audio_end: K.TEXT,
        }
        return {token_id: kind for token_id, kind in marked.items() if token_id is not None}

    @cached_property
    def _ranges(self) -> Mapping[Position, tuple[Range, ...]]:
        return {place: self._allowed(place) for place in Position}

    def _allowed(self, place: Position) -> tuple[Range, ...]:
        base = self.vocab.audio_base
        kinds = self._kinds(place)
        ranges = [(i, i + 1) for i, kind in self._marked.items() if kind in kinds]
        if K.TEXT in kinds:
            edges = [-1, *sorted(i for i in self._marked if i < base), base]
            ranges += [(a + 1, b) for a, b in pairwise(edges)]
        if K.LINGUISTIC in kinds:
            ranges.append((base, base + LINGUISTIC_SIZE))
        if K.SEMANTIC in kinds:
            ranges.append((base + LINGUISTIC_SIZE, base + AUDIO_SIZE))
        return _joined(ranges)


def to_args(grammar: Grammar) -> dict[str, str | int]:
    """Return a grammar as plain values, for a request over the wire."""
    vocab, calls = grammar.vocab, grammar.calls
    named = {name: getattr(vocab, name) for name in _NAMED}
    args = {"form": grammar.form, **{k: v for k, v in named.items() if v is not None}}
    if calls is not None:
        args["calls"] = "must" if calls.must else "never"
        if calls.openings:
            args["openings"] = _written(calls.openings)
    if grammar.transcripts:
        args["transcripts"] = _written(grammar.transcripts)
    return args


def from_args(args: Mapping[str, object], vocab_size: int) -> Grammar | None:
    """Return the grammar that `to_args` wrote; None when there is no "form" among the values.

    Raises:
        InputError: a form that does not exist, a missing id, one outside the vocabulary, or calls
            that are impossible.
    """
    if "form" not in args:
        return None
    forms: tuple[Form, ...] = get_args(Form)
    form = next((known for known in forms if known == args["form"]), None)
    if form is None:
        raise InputError(f"form is {args['form']!r}, expected one of {', '.join(forms)}")
    named: dict[str, Any] = {}
    for name in _NAMED:
        value = args.get(name)
        if type(value) is int and 0 <= value < vocab_size:
            named[name] = value
        elif value is not None or name in {"audio_base", "eot"}:
            raise InputError(f"{name} is {value!r}, expected an id below {vocab_size}")
    vocab = Vocab(**named)
    if vocab.size > vocab_size:
        raise InputError(f"audio ids end at {vocab.size}, beyond the {vocab_size} of the model")
    free = Grammar(vocab, form)
    transcripts = _sequences(args, "transcripts", free)
    if transcripts and (vocab.heard_open is None or form == "speech"):
        raise InputError("transcripts are given, but there is no marker for them")
    return Grammar(vocab, form, _calls(args, free), transcripts)


def _calls(args: Mapping[str, object], grammar: Grammar) -> CallRule | None:
    """Return the rule for calls among the values. Raises InputError."""
    how = args.get("calls")
    if how is None:
        return None
    if how not in ("must", "never"):
        raise InputError(f"calls is {how!r}, expected must or never")
    if how == "must" and (grammar.vocab.call is None or grammar.form == "speech"):
        raise InputError("calls is 'must', but there is no marker for calls")
    return CallRule(how == "must", _sequences(args, "openings", grammar))


def _written(sequences: Iterable[tuple[int, ...]]) -> str:
    return ";".join(",".join(map(str, ids)) for ids in sequences)


def _sequences(
    args: Mapping[str, object], name: str, grammar: Grammar
) -> tuple[tuple[int, ...], ...]:
    """Return sequences of text ids among the values. Raises InputError."""
    written = args.get(name, "")
    try:
        split = [part.split(",") for part in str(written).split(";")] if written else []
        sequences = tuple(tuple(int(token_id) for token_id in part) for part in split)
    except ValueError:
        raise InputError(f"{name} must be ids, as in 5,6;5,7") from None
    if any(grammar.kind(token_id) is not K.TEXT for ids in sequences for token_id in ids):
        raise InputError(f"{name} may only hold ids of text")
    return sequences


def _joined(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """Return the same ids in rising order, ranges that touch as one, empty ones left out."""
    out: list[Range] = []
    for low, high in sorted(ranges):
        if out and low <= out[-1][1]:
            out[-1] = (out[-1][0], max(high, out[-1][1]))
        elif low < high:
            out.append((low, high))
    return tuple(out)
