"""What old questions take of a prompt, as sound and as words (tests/bench/history.py)."""

from __future__ import annotations

import pytest

from tests.bench.history import PROFILES, SAID, history_ids


@pytest.mark.parametrize("profile", PROFILES)
def test_words_take_a_fraction_of_the_ids_of_sound(profile: str) -> None:
    turns = 2 * len(SAID) + 1
    words = history_ids(profile, turns, "words")
    sound = history_ids(profile, turns, "questions as sound")
    asked = 2 * sum(len(question) for question, _ in SAID)
    assert sound - words > 5 * asked, "a question takes six times the ids as sound, at least"
    whole = history_ids(profile, turns, "all sound")
    assert whole == sound if profile == "chat-130b" else whole > 2 * sound
