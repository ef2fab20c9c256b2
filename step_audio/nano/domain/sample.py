"""One question and its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Split = Literal["train", "held"]


@dataclass(frozen=True, slots=True)
class QaSample:
    """A spoken question, the tool call it needs, and the spoken answer.

    Attributes:
        intent: "sum", "time", "capital" and so on; `generate.WEIGHTS` lists all.
        question: spoken words only: a-z, apostrophe, spaces; "" stands for sound without speech.
        call: tool name and compact JSON arguments, keys in the order of the schema; or None.
        result: JSON text that the tool answered; None without a call.
        answer: sentence case, only . , ? ! as marks, no digits.
        carrier: id of the phrasing, "intent/pattern"; the unit of the held-out split.
        slots: slot values in words.
        key_words: words that a right answer must contain, lower case.
        history: earlier turns, oldest first.
    """

    intent: str
    question: str
    call: tuple[str, str] | None
    result: str | None
    answer: str
    carrier: str
    slots: tuple[str, ...]
    key_words: tuple[str, ...]
    history: tuple[QaSample, ...] = ()


def qa_sample(row: dict[str, Any]) -> QaSample:
    """Return the sample that `dataclasses.asdict` and JSON made `row` of."""
    history = tuple(qa_sample(past) for past in row["history"])
    call = tuple(row["call"]) if row["call"] else None
    lists = {name: tuple(row[name]) for name in ("slots", "key_words")}
    return QaSample(**{**row, **lists, "call": call, "history": history})
