import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_audio.core.error_rates import edits, error_rate
from step_audio.eval.wer import exact, in_order, normalise, word_error_rate

WORDS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=6)


@given(WORDS, WORDS)
def test_distance_is_symmetric_and_bounded(a: list[str], b: list[str]) -> None:
    distance = edits(a, b)
    assert distance == edits(b, a)
    assert abs(len(a) - len(b)) <= distance <= max(len(a), len(b))
    assert (distance == 0) == (a == b)


@given(WORDS, WORDS, WORDS)
def test_distance_obeys_the_triangle(a: list[str], b: list[str], c: list[str]) -> None:
    assert edits(a, c) <= edits(a, b) + edits(b, c)


def test_case_punctuation_and_hyphens_are_no_errors() -> None:
    assert normalise("It's Forty-two, o’clock!") == ["it's", "forty", "two", "o'clock"]
    assert word_error_rate(["Forty-two."], ["forty two"]) == 0.0


def test_word_error_rate_counts_over_all_texts() -> None:
    assert word_error_rate(["one two three", "four"], ["one too three", "four five"]) == 2 / 4


def test_exact_counts_whole_texts() -> None:
    assert exact(["one two", "three"], ["One two!", "tree"]) == 0.5


def test_what_is_heard_without_a_word_said_counts() -> None:
    assert word_error_rate(["", "one two"], ["a b", "one two"]) == 1.0
    assert word_error_rate(["one two"], [""]) == 1.0
    assert (error_rate("", "a b c"), error_rate("a", ""), error_rate("", "")) == (1.0, 1.0, 0.0)


def test_a_script_without_spaces_counts_by_character() -> None:
    assert error_rate("你好吗", "你好啊") == 1 / 3


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing"):
        word_error_rate([""], ["a"])


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
