"""One question and its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
