"""What the shipped model says of itself: which sentences it was taught to read aloud."""

from __future__ import annotations

import random

import pytest

from step_audio.core.config import load_profile
from step_audio.dialog.speakable.reading_domain import (
    MOST_SENTENCES,
    ReadingDomain,
    read_domain,
    word_pairs,
)
from step_audio.nano.domain import generate
from step_audio.nano.exam.examination import open_sentences
from step_audio.runtime import Runtime


@pytest.fixture(scope="module")
def domain() -> ReadingDomain:
    return Runtime(load_profile("nano", environ={})).settings().domain


def test_pairs_are_of_words_as_they_are_said() -> None:
    said = list(word_pairs("It's **7** metres."))
    assert said == [("<", "it's"), ("it's", "seven"), ("seven", "metres"), ("metres", ">")]


def test_open_sentences_lie_outside_and_held_out_answers_within(domain: ReadingDomain) -> None:
    assert all(domain.is_outside(sentence) for sentence in open_sentences())
    rng = random.Random(9)
    answers = [generate(rng, "held").answer for _ in range(200)]
    assert sum(domain.is_outside(answer) for answer in answers) <= 16


@pytest.mark.parametrize(
    ("text", "outside"),
    [
        ("Twelve plus thirty is forty two.", []),
        ("12 plus 30 is 42. My sister lives by the river.", ["My sister lives by the river."]),
        ("...", []),
        ("", []),
    ],
)
def test_sentences_are_judged_one_by_one(
    text: str, outside: list[str], domain: ReadingDomain
) -> None:
    assert domain.outside(text)[0] == outside


def test_a_long_text_is_looked_at_in_part() -> None:
    outside, looked_at = read_domain("< hello\nhello >").outside("My house is red. " * 500)
    assert len(outside) == looked_at == MOST_SENTENCES


def test_without_a_list_nothing_is_outside() -> None:
    assert ReadingDomain().outside("My sister lives by the river.") == ([], 0)


def test_other_models_read_anything() -> None:
    assert not Runtime(load_profile("scripted", environ={})).settings().domain.pairs


def test_broken_lines_of_a_list_are_left_out() -> None:
    assert read_domain("a b\n\nc\nd e f\ng h\n").pairs == {("a", "b"), ("g", "h")}
