"""What a small model can read aloud, so that whoever asks for more is told instead of babbled at.

A model of a small world learned sentences, not letters: words that it knows come out as others
when they stand together in a new way. Its weights list the pairs of words that it was taught to say
one after the other (`lm/word_pairs.txt`). Where more than a third of a sentence's pairs are new, it
lies outside: so do all of 100 open sentences, and 4 of 100 answers in phrasings that were held out.
Models without a list read anything.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from step_audio.core.error_rates import units
from step_audio.core.types import TextOptions
from step_audio.dialog.speakable.rules import read_sentence
from step_audio.dialog.speakable.sentences import sentences

BEGIN, END = "<", ">"
NEW_PAIRS: Final = 1 / 3
"""Share of new pairs up to which a sentence is read as written."""
MOST_SENTENCES: Final = 60
"""Sentences of a long text that are looked at; normalising takes time."""

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ReadingDomain:
    """The pairs of words that a model was taught; none: it reads anything."""

    pairs: frozenset[Pair] = frozenset()

    def is_outside(self, sentence: str) -> bool:
        """Return whether a sentence lies outside; without words it does not."""
        said = list(word_pairs(sentence)) if self.pairs else []
        new = sum(pair not in self.pairs for pair in said)
        return len(said) > 1 and new > NEW_PAIRS * len(said)

    def outside(self, text: str) -> tuple[list[str], int]:
        """Return the sentences of a text that lie outside, and how many were looked at."""
        if not self.pairs:
            return [], 0
        looked_at = sentences(text)[:MOST_SENTENCES]
        return [sentence for sentence in looked_at if self.is_outside(sentence)], len(looked_at)


def word_pairs(sentence: str) -> Iterator[Pair]:
    """Yield the pairs of a sentence's words as they are said, its begin and end among them."""
    return pairs_of_words(read_sentence(sentence, TextOptions(), chinese=False))


def pairs_of_words(said: str) -> Iterator[Pair]:
    """Yield the same of a sentence that is words already, such as those of nano's grammar."""
    return itertools.pairwise([BEGIN, *units(said), END])


def read_domain(text: str) -> ReadingDomain:
    """Return the domain of a list, two words a line."""
    rows = (line.split() for line in text.splitlines())
    return ReadingDomain(frozenset((row[0], row[1]) for row in rows if len(row) == 2))
