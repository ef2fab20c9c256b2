"""Whether words sound as if more were to come: a hint for the end of a turn. Pure.

English only; of other languages nothing is said. The list is of words that a spoken question
hardly ends with, so that a wrong guess is rare: it costs a person a second of waiting.
"""

from __future__ import annotations

import re
from typing import Final

_GO_ON: Final = re.compile(
    r"\b(a|an|the|my|your|our|their|and|or|but|because|if|than|of|to|in|into|for|between"
    r"|plus|minus|times|divided|multiplied|(what|it|that|who|where)'s|i'm|um|uh|er|hmm)$"
)
_AMOUNTS: Final = re.compile(r"\b(many|several|few|the|some) times$")
"""How many times: here the word is no sign of multiplication."""
_ENDED: Final = (".", "!", "?", "。", "！", "？")
_BROKEN_OFF: Final = (",", "-", "...", "…")


def goes_on(words: str) -> bool:
    """Return whether somebody who said `words` and fell silent has hardly finished."""
    text = words.strip().lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    if text.endswith(_BROKEN_OFF):
        return True
    if not text or text.endswith(_ENDED) or _AMOUNTS.search(text):
        return False
    return _GO_ON.search(text) is not None
