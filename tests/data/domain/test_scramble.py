"""Questions with strange words in them, and what must never come about by chance."""

from __future__ import annotations

import random

import pytest

from step_audio.data.domain import generate, scrambled, vocabulary
from step_audio.data.domain.grammar import held_combo
from step_audio.data.domain.live import cities
from step_audio.data.domain.numbers import TENS
from step_audio.data.domain.scramble import strange_words

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


@pytest.mark.parametrize("city", HELD)
def test_no_held_out_city_is_asked_about_in_a_scramble(city: str) -> None:
    # A training question may name it where the speaker corrects himself, as in training anyway.
    rng = random.Random(9)
    plain = sum(city.lower() in generate(rng, "train").question for _ in range(2000)) / 2000
    mixed = sum(city.lower() in text for text in DRAWN) / len(DRAWN)
    assert mixed <= plain + 0.02
