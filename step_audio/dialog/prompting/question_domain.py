"""Which typed questions a small model was taught to answer, so that others are declined.

A model of a small world answers every question, because it has met no others: "Wake me up at seven"
becomes a sum. Its weights list which words were taught behind which others in one question,
wherever they stood (`lm/questions.json`). A question whose pairs are new for more than a fifth lies
outside, and the model is shown one in its place that it was taught to decline. What is judged ends
where words stand that may be any: "repeat after me", "the weather in". Models without a list are
asked anything. `python -m step_audio.nano.exam.typed` measures it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from step_audio.core.error_rates import units
from step_audio.core.errors import WeightsError
from step_audio.core.json_files import read_object

BEGIN, END = "<", ">"
NUMBER: Final = "#"
"""Stands for a number of any length."""

NEW_PAIRS: Final = 0.2
"""Share of new pairs up to which a question is asked as it was typed. Chosen on the `tuning`
questions of nano's examination (58 of 60 lie outside) and 3000 questions of its grammar in
phrasings that were held out (0.6 % do)."""

MOST_WORDS: Final = 60
"""Words of a long text that are looked at: pairs grow with their square."""

LONGEST_OPENING: Final = 3


@dataclass(frozen=True, slots=True)
class QuestionDomain:
    """What a model was taught to be asked; without followers: anything.

    Attributes:
        followers: words to those that stood anywhere behind them in a question.
        numbers: words that numbers consist of.
        openings: one to three words behind which any words may stand.
        declined: a question that the model was taught to decline.
    """

    followers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    numbers: frozenset[str] = frozenset()
    openings: frozenset[str] = frozenset()
    declined: str = ""

    def is_outside(self, question: str) -> bool:
        """Return whether a question lies outside; "" does not, marks without words do."""
        if not self.followers or not question.strip():
            return False
        words = units(question)[:MOST_WORDS]
        if not words:
            return True
        pairs = list(itertools.combinations(self._judged(words), 2))
        new = sum(after not in self.followers.get(word, ()) for word, after in pairs)
        return new > NEW_PAIRS * len(pairs)

    def asked(self, question: str) -> str:
        """Return what the model is shown of a question: its words alone, as transcripts are.

        Capitals and marks were seldom taught: "Bye!" was taken for something else.
        """
        if not self.followers or not question.strip():
            return question
        return self.declined if self.is_outside(question) else " ".join(units(question))

    def _judged(self, words: Sequence[str]) -> list[str]:
        """Return the words up to where any may stand, between begin and end."""
        marked = marked_words(words, self.numbers)
        for end in range(2, len(marked) - 1):
            lengths = range(1, min(LONGEST_OPENING, end - 1) + 1)
            if any(" ".join(marked[end - length : end]) in self.openings for length in lengths):
                return marked[:end]
        return marked


def marked_words(words: Sequence[str], numbers: frozenset[str]) -> list[str]:
    """Return the words of a question between begin and end, each number as one mark."""
    shown = [NUMBER if word in numbers else word for word in words]
    kept = [
        word for before, word in itertools.pairwise(["", *shown]) if not before == word == NUMBER
    ]
    return [BEGIN, *kept, END]


def read_question_domain(path: Path) -> QuestionDomain:
    """Return the domain of `lm/questions.json`.

    Raises:
        WeightsError: not as `python -m step_audio.nano.training.question_domain` writes it.
    """
    match read_object(path, WeightsError):
        case {
            "followers": dict(followers),
            "numbers": str(numbers),
            "openings": list(openings),
            "declined": str(declined),
        } if declined.strip() and all(isinstance(words, str) for words in followers.values()):
            return QuestionDomain(
                {word: frozenset(words.split()) for word, words in followers.items()},
                frozenset(numbers.split()),
                frozenset(str(words) for words in openings),
                declined,
            )
        case _:
            raise WeightsError(
                f"{path} must hold followers, numbers, openings and a declined question"
            )
