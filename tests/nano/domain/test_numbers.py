import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_audio.nano.domain.numbers import (
    clock_words,
    number_words,
    ordinal_words,
    spoken_words,
    value_words,
)


@pytest.mark.parametrize(
    ("n", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (42, "forty two"),
        (-5, "minus five"),
        (100, "one hundred"),
        (120, "one hundred twenty"),
        (1020, "one thousand twenty"),
        (216000, "two hundred sixteen thousand"),
    ],
)
def test_numbers_are_said_without_and(n: int, words: str) -> None:
    assert number_words(n) == words


def test_a_number_beyond_speech_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        number_words(10**9)


@given(st.integers(-(10**9) + 1, 10**9 - 1))
def test_digits_in_a_text_are_heard_as_the_words_of_the_number(n: int) -> None:
    assert spoken_words(f"It is {n}.") == ["it", "is", *number_words(n).split()]


def test_values_times_and_ordinals_in_words() -> None:
    assert value_words(3.1) == "three point one"
    assert value_words(-17.8) == "minus seventeen point eight"
    assert value_words(-0.6) == "minus zero point six"
    assert value_words(4) == "four"
    assert clock_words("15:42") == "fifteen forty two"
    assert clock_words("07:05") == "seven oh five"
    assert clock_words("00:00") == "zero o'clock"
    assert [ordinal_words(n) for n in (1, 12, 20, 21, 30, 31)] == [
        *("first", "twelfth", "twentieth", "twenty first", "thirtieth", "thirty first")
    ]


def test_spoken_words_drop_marks_and_case() -> None:
    assert spoken_words("Hello! It’s 'seven' o'clock, 3.1 miles.") == [
        *("hello", "it's", "seven", "o'clock", "three", "point", "one", "miles")
    ]
    assert spoken_words("") == []
    assert spoken_words("1234567890123456")[:3] == ["one", "two", "three"]
