"""How far apart two texts are: edits between what was said and what was heard.

Words for scripts with spaces, characters for Chinese and Japanese, so one rate serves all. `jiwer`
counts; what a word is stays ours, because scores are compared with those of earlier versions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import jiwer

_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_UNIT = re.compile(rf"[{_IDEOGRAPHS}]|(?:(?![{_IDEOGRAPHS}])[^\W_])+(?:'[^\W_]+)*")


def units(text: str) -> list[str]:
    """Return words, and single characters of scripts without spaces: lower case, no marks."""
    return _UNIT.findall(text.lower().replace("\u2019", "'"))


def edits(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Return the fewest substitutions, insertions and deletions between two sequences of words."""
    found = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    return int(found.substitutions + found.insertions + found.deletions)


def error_rate(reference: str, hypothesis: str) -> float:
    """Return edits / units of the reference; 1 when only one of the two is empty."""
    said, heard = units(reference), units(hypothesis)
    return edits(said, heard) / len(said) if said else float(bool(heard))
