"""Error rates: what was said against what was heard."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from step_audio.core.error_rates import advance, edit_distance

__all__ = [
    "Pronunciations",
    "edit_distance",
    "exact",
    "in_order",
    "normalise",
    "phone_error_rate",
    "word_error_rate",
]

Pronunciations = Mapping[str, Sequence[Sequence[str]]]
"""Word to its ways of being said, each a sequence of phones."""


def normalise(text: str) -> list[str]:
    """Return the words of a text: lower case, no punctuation, hyphens apart."""
    return re.findall(r"[a-z0-9]+(?:'[a-z]+)*", text.lower().replace("\u2019", "'"))


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Return word errors over all texts / words of all references (may exceed 1).

    Raises: ValueError: unequal numbers of texts, or no reference word at all.
    """
    errors = words = 0
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        said = normalise(reference)
        errors += edit_distance(said, normalise(hypothesis))
        words += len(said)
    return _ratio(errors, words)


def exact(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Return the share of texts whose words were heard without any error."""
    same = [
        normalise(reference) == normalise(hypothesis)
        for reference, hypothesis in zip(references, hypotheses, strict=True)
    ]
    return _ratio(sum(same), len(same))


def phone_error_rate(
    texts: Sequence[str], phones: Sequence[Sequence[str]], lexicon: Pronunciations
) -> float:
    """Return phone errors / phones, each word counted in its best fitting pronunciation.

    Raises: KeyError: a word is not in the lexicon. ValueError as `word_error_rate`.
    """
    errors = total = 0
    for text, heard in zip(texts, phones, strict=True):
        row = list(range(len(heard) + 1))
        for word in normalise(text):
            ends = []
            for way in lexicon[word]:
                end = row
                for phone in way:
                    end = advance(end, phone, heard)
                ends.append(end)
            row = [min(column) for column in zip(*ends, strict=True)]
            total += min(len(way) for way in lexicon[word])
        errors += row[-1]
    return _ratio(errors, total)


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


def _ratio(part: int, whole: int) -> float:
    if whole == 0:
        raise ValueError("nothing to compare")
    return part / whole
