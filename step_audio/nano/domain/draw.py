"""The dice of one sample: generator, split, and seed of the fake tools."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from step_audio.core.toolformat import FAILED, UNAVAILABLE
from step_audio.nano.domain.carriers import Carrier, Slot, held_combo, phrasings
from step_audio.nano.domain.numbers import number_words
from step_audio.nano.domain.sample import Split

T = TypeVar("T")

ERROR_CHANCE: Final = 0.03
MAX_DRAWS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Draw:
    """How one sample is drawn.

    Attributes:
        rng: all randomness comes from it.
        split: which carriers and slot combinations may be used.
        fake_seed: answer tools as `FakeTools(fake_seed)` does; None: another seed each time,
            and in training now and then a tool that fails.
    """

    rng: random.Random
    split: Split
    fake_seed: int | None = None

    def carrier(self, *groups: str) -> Carrier:
        """Return a carrier of one of the groups, groups equally likely."""
        choices = [group for group in groups if phrasings(group).has(self.split)]
        return phrasings(self.rng.choice(choices)).pick(self.rng, self.split)

    def combo(self, make: Callable[[], T], key: Callable[[T], tuple[str, ...]]) -> T:
        """Return the first drawn value whose combination of slots belongs to the split.

        Raises:
            ValueError: no such value in 10,000 draws.
        """
        for _ in range(MAX_DRAWS):
            value = make()
            if held_combo(*key(value)) == (self.split == "held"):
                return value
        raise ValueError(f"no slot combination of split {self.split!r}")

    def seed(self) -> int:
        """Return the seed for one fake tool result."""
        return self.rng.getrandbits(32) if self.fake_seed is None else self.fake_seed

    def outcome(self, result: str, *, live: bool = False) -> str:
        """Return `result`, or rarely in training an error; `live`: the tool needs a provider."""
        fails = self.split == "train" and self.fake_seed is None
        if not fails or self.rng.random() >= ERROR_CHANCE:
            return result
        return UNAVAILABLE if live else FAILED


def number_slot(n: int, low: int, high: int) -> Slot:
    """Return the slot of a number that may be misspoken as another of [low, high]."""
    return Slot(number_words(n), lambda rng: number_words(rng.randint(low, high)))


def word_slot(words: str, others: Sequence[str]) -> Slot:
    """Return the slot of a name that may be misspoken as another of its kind."""
    return Slot(words.lower(), lambda rng: rng.choice(others).lower())


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a slot value in lower case."""
    return tuple(text.lower().split())
