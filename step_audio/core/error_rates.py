"""How far apart two texts are: edits between what was said and what was heard.

Words for scripts with spaces, characters for Chinese and Japanese, so one rate serves all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_UNIT = re.compile(rf"[{_IDEOGRAPHS}]|(?:(?![{_IDEOGRAPHS}])[^\W_])+(?:'[^\W_]+)*")


def units(text: str) -> list[str]:
    """Return words, and single characters of scripts without spaces: lower case, no marks."""
    return _UNIT.findall(text.lower().replace("\u2019", "'"))


def edit_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Return the fewest substitutions, insertions and deletions between two sequences."""
    row = list(range(len(hypothesis) + 1))
    for item in reference:
        row = advance(row, item, hypothesis)
    return row[-1]


def advance(row: Sequence[int], item: str, hypothesis: Sequence[str]) -> list[int]:
    """Return the next row of the table of edits: one more item of the reference."""
    new = [row[0] + 1]
    for j, other in enumerate(hypothesis, 1):
        new.append(min(row[j] + 1, new[-1] + 1, row[j - 1] + (item != other)))
    return new


def error_rate(reference: str, hypothesis: str) -> float:
    """Return edits / units of the reference; 1 when only one of the two is empty."""
    said, heard = units(reference), units(hypothesis)
    if not said:
        return float(bool(heard))
    return edit_distance(said, heard) / len(said)
