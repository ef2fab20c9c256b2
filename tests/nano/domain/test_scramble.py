"""Questions with strange words in them, and what must never come about by chance."""

from __future__ import annotations

import random
from collections import Counter

from step_audio.nano.domain import generate, scrambled, vocabulary
from step_audio.nano.domain.carriers import held_combo
from step_audio.nano.domain.numbers import TENS
from step_audio.nano.domain.scramble import strange_words
from step_audio.nano.domain.tool_questions import cities

SCRAMBLED = [scrambled(random.Random(1000 + seed)) for seed in range(3000)]
DRAWN = [scrambled(random.Random(seed)) for seed in range(400)]
HELD = [city for city in cities() if held_combo("city", "weather", city)]


def test_every_word_can_be_spoken_and_the_text_depends_on_the_seed_alone() -> None:
    known = set(vocabulary())
    assert all(set(text.split()) <= known for text in DRAWN)
    assert scrambled(random.Random(5)) == DRAWN[5]
    assert len(set(DRAWN)) > 390


def test_what_is_put_in_is_no_number_and_no_held_out_city() -> None:
    assert HELD
    put_in = set(strange_words())
    assert not put_in & set(TENS)
    assert not put_in & {word for city in HELD for word in city.lower().split()}
    assert len(put_in) > 500


def test_words_that_are_seldom_asked_come_most() -> None:
    rng = random.Random(7)
    asked = Counter(w for _ in range(6000) for w in generate(rng, "train").question.split())
    put_in = Counter(w for text in SCRAMBLED for w in text.split())
    strange = strange_words()
    rare = [put_in[word] for word in strange if asked[word] < 4]
    assert len(rare) > 200
    assert sum(count > 0 for count in rare) > 0.9 * len(rare)
    once = sum(put_in.values()) / sum(asked.values())
    assert sum(rare) > 3 * once * sum(asked[word] for word in strange if asked[word] < 4)


def test_held_out_cities_are_heard_and_seldom_beside_words_of_time_or_weather() -> None:
    asked = {"weather", "temperature", "forecast", "rain", "sunny", "snowy", "time", "clock"}
    for city in HELD:
        naming = [text.split() for text in SCRAMBLED if city.lower() in text]
        assert naming, f"{city} is never heard"
        # Questions with cities get none of these, but a strange word may be "weather", and a
        # speaker may correct himself, as in training anyway.
        pairs = sum(bool(asked & set(words)) for words in naming)
        assert pairs <= 0.12 * len(naming) + 2, city
