"""Error rates: what was said against what was heard."""

from __future__ import annotations

import re
from collections.abc import Sequence

import jiwer


def normalise(text: str) -> list[str]:
    """Return the words of a text: lower case, no punctuation, hyphens apart."""
    return re.findall(r"[a-z0-9]+(?:'[a-z]+)*", text.lower().replace("\u2019", "'"))


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Return word errors over all texts / words of all references (may exceed 1).

    Raises: ValueError: unequal numbers of texts, or no reference word at all.
    """
    pairs = list(zip(references, hypotheses, strict=True))
    said = [" ".join(normalise(reference)) for reference, _ in pairs]
    if not any(said):
        raise ValueError("nothing to compare")
    heard = [" ".join(normalise(hypothesis)) for _, hypothesis in pairs]
    return float(jiwer.wer(said, heard))


def exact(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Return the share of texts whose words were heard without any error."""
    same = [
        normalise(reference) == normalise(hypothesis)
        for reference, hypothesis in zip(references, hypotheses, strict=True)
    ]
    if not same:
        raise ValueError("nothing to compare")
    return sum(same) / len(same)


def in_order(key_words: Sequence[str], text: str) -> bool:
    """Return whether every key word (or phrase) occurs in the text, one after the other."""
    words = normalise(text)
    start = 0
    for key in key_words:
        phrase = normalise(key)
        for at in range(start, len(words) - len(phrase) + 1):
            if words[at : at + len(phrase)] == phrase:
                start = at + len(phrase)
                break
        else:
            return False
    return True
