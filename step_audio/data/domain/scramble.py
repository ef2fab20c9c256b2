"""Questions with foreign words in them: what is heard decides, not what is usually asked.

A model that transcribes only whole questions learns which cities are asked about, and then writes
those whatever is said. Text of this kind is for transcription; it has no answer.
"""

from __future__ import annotations

import random
from functools import cache

from step_audio.data.domain.generate import generate
from step_audio.data.domain.grammar import held_combo
from step_audio.data.domain.lexicon import vocabulary
from step_audio.data.domain.live import cities
from step_audio.data.domain.numbers import ONES, ORDINALS, OTHERS, TENS

_CITY_INTENTS = ("time", "weather")


def scrambled(rng: random.Random) -> str:
    """Return a training question with some words replaced, or two of them around strange words.

    Nothing that is held out comes about by chance: numbers and held-out cities are not among the
    words put in, and halves are never joined without one.
    """
    if rng.random() < 0.6:
        words = _question(rng)
        for _ in range(rng.choice((1, 1, 2, 3))):
            words[rng.randrange(len(words))] = rng.choice(strange_words())
        return " ".join(words)
    first, second = _question(rng), _question(rng)
    front = first[: rng.randint(1, max(1, len(first) - 1))]
    back = second[rng.randint(1, len(second)) :]
    between = rng.choices(strange_words(), k=rng.choice((1, 1, 2)))
    return " ".join([*_plain(front), *between, *_plain(back)])


@cache
def strange_words() -> tuple[str, ...]:
    """Return the words that may be put in, sorted."""
    numbers = {word for text in (*ONES, *TENS, *ORDINALS, *OTHERS) for word in text.split()}
    return tuple(sorted(set(vocabulary()) - numbers - _held_city_words()))


@cache
def _held_city_words() -> frozenset[str]:
    """Return the words of cities whose combination with a question is held out."""
    held = {city for city in cities() for i in _CITY_INTENTS if held_combo("city", i, city)}
    return frozenset(word for city in held for word in city.lower().split())


def _plain(words: list[str]) -> list[str]:
    """Return the words without those that could pair up to something held out."""
    return [word for word in words if word not in _held_city_words()]


def _question(rng: random.Random) -> list[str]:
    words: list[str] = []
    while not words:
        words = generate(rng, "train").question.split()
    return words
