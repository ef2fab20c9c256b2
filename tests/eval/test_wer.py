import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_audio.eval.wer import (
    edit_distance,
    exact,
    in_order,
    normalise,
    phone_error_rate,
    word_error_rate,
)

WORDS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=6)


@given(WORDS, WORDS)
def test_distance_is_symmetric_and_bounded(a: list[str], b: list[str]) -> None:
    distance = edit_distance(a, b)
    assert distance == edit_distance(b, a)
    assert abs(len(a) - len(b)) <= distance <= max(len(a), len(b))
    assert (distance == 0) == (a == b)


@given(WORDS, WORDS, WORDS)
def test_distance_obeys_the_triangle(a: list[str], b: list[str], c: list[str]) -> None:
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)


def test_case_punctuation_and_hyphens_are_no_errors() -> None:
    assert normalise("It's Forty-two, o’clock!") == ["it's", "forty", "two", "o'clock"]
    assert word_error_rate(["Forty-two."], ["forty two"]) == 0.0


def test_word_error_rate_counts_over_all_texts() -> None:
    assert word_error_rate(["one two three", "four"], ["one too three", "four five"]) == 2 / 4


def test_exact_counts_whole_texts() -> None:
    assert exact(["one two", "three"], ["One two!", "tree"]) == 0.5


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing"):
        word_error_rate([""], ["a"])


def test_phone_error_rate_takes_the_best_pronunciation_of_each_word() -> None:
    lexicon = {"the": [["dh", "ah"], ["dh", "iy"]], "cat": [["k", "ae", "t"]]}
    said = ["dh", "iy", "k", "ae", "t"]
    assert phone_error_rate(["the cat"], [said], lexicon) == 0.0
    assert phone_error_rate(["the cat"], [["dh", "k", "ae", "p"]], lexicon) == 2 / 5


@pytest.mark.parametrize(
    ("keys", "heard", "right"),
    [
        (["forty two"], "twelve plus thirty is forty two", True),
        (["forty two"], "forty is the answer two", False),
        (["twelve", "thirty", "forty two"], "twelve plus thirty is forty two", True),
        (["thirty", "twelve"], "twelve plus thirty is forty two", False),
        (["two", "two"], "two", False),
        ([], "anything", True),
    ],
)
def test_key_words_count_only_in_order(keys: list[str], heard: str, right: bool) -> None:
    assert in_order(keys, heard) is right
