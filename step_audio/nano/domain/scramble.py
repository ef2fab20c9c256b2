"""Questions with foreign words in them: what is heard decides, not what is usually asked.

A model that transcribes only whole questions learns which cities are asked about, and then writes
those whatever is said. Text of this kind is for transcription; it has no answer.
"""

from __future__ import annotations

import random
from collections import Counter
from functools import cache
from itertools import accumulate

from step_audio.nano.domain import unseen_places
from step_audio.nano.domain.carriers import held_combo
from step_audio.nano.domain.generate import INTENTS, generate, generate_intent
from step_audio.nano.domain.lexicon import vocabulary
from step_audio.nano.domain.numbers import words_of_numbers
from step_audio.nano.domain.tool_questions import cities

_CITY_INTENTS = ("time", "weather")
_WITH_CITIES = ("follow_up", *_CITY_INTENTS)

_COUNTED = 20_000
_RARE = 20
"""Questions in which words are counted, and how often a word stands in them that comes half as
often among the strange ones as a word that never does."""


def scrambled(rng: random.Random) -> str:
    """Return a training question with some words replaced, or two of them around strange words.

    So that nothing held out comes about whole: numbers are not among the words put in, a city that
    is held out is put only into questions for neither time nor weather (where a strange word may
    still be "weather"), and halves are never joined without a strange word.
    """
    anywhere = rng.random() < 0.5
    if rng.random() < 0.6:
        words = _question(rng, anywhere)
        for _ in range(rng.choice((1, 1, 2, 3))):
            at = rng.randrange(len(words))
            words[at : at + 1] = _strange(rng, anywhere)
        return " ".join(words)
    first, second = _question(rng, anywhere), _question(rng, anywhere)
    front = first[: rng.randint(1, max(1, len(first) - 1))]
    back = second[rng.randint(1, len(second)) :]
    between = [word for _ in range(rng.choice((1, 1, 2))) for word in _strange(rng, anywhere)]
    return " ".join([*_plain(front), *between, *_plain(back)])


@cache
def strange_words() -> tuple[str, ...]:
    """Return the words that may be put in anywhere, sorted; letters are for spelling."""
    words = {word for word in vocabulary() if len(word) > 1}
    return tuple(sorted(words - words_of_numbers() - _held_city_words()))


@cache
def _rarity() -> tuple[float, ...]:
    """Return the running sum of how much of the draws each strange word gets.

    Half of the vocabulary stands in one training question of a thousand or less, but in one word
    of 25 of the phrasings held out: who learns them from whole questions writes another for them.
    """
    rng = random.Random(0)
    questions = (generate(rng, "train").question for _ in range(_COUNTED))
    counts = Counter(word for question in questions for word in question.split())
    return tuple(accumulate(1 / (_RARE + counts[word]) for word in strange_words()))


def _strange(rng: random.Random, anywhere: bool) -> list[str]:
    if rng.random() < 0.75:
        return rng.choices(strange_words(), cum_weights=_rarity())
    name = rng.choice((*unseen_places.places(), *cities())).lower().split()
    # A name that is held out is left out where it could belong to what is asked.
    return name if anywhere or not _held_city_words() & set(name) else [rng.choice(strange_words())]


@cache
def _held_city_words() -> frozenset[str]:
    """Return the words of cities whose combination with a question is held out."""
    held = {city for city in cities() for i in _CITY_INTENTS if held_combo("city", i, city)}
    return frozenset(word for city in held for word in city.lower().split())


def _plain(words: list[str]) -> list[str]:
    """Return the words without those that could pair up to something held out."""
    return [word for word in words if word not in _held_city_words()]


def _question(rng: random.Random, anywhere: bool) -> list[str]:
    """Return the words of a question; `anywhere`: of one that no city belongs to."""
    words: list[str] = []
    while not words:
        if anywhere:
            intent = rng.choice([name for name in INTENTS if name not in _WITH_CITIES])
            words = generate_intent(rng, intent, "train").question.split()
        else:
            words = generate(rng, "train").question.split()
    return words
