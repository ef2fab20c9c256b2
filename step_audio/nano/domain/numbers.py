"""Numbers as they are spoken: "forty two", "minus five", "three point one", "twenty first"."""

from __future__ import annotations

import re
from typing import Final

ONES: Final = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen"),
    *("sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS: Final = (
    *("", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"),
)
ORDINALS: Final = (
    *("", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"),
    *("tenth", "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth"),
    *("sixteenth", "seventeenth", "eighteenth", "nineteenth", "twentieth"),
)
OTHERS: Final = ("hundred", "thousand", "million", "minus", "point", "thirtieth", "oh", "o'clock")
MAX_SPOKEN: Final = 10**9


def words_of_numbers() -> frozenset[str]:
    """Return every word that a spoken number may consist of."""
    return frozenset(w for text in (*ONES, *TENS, *ORDINALS, *OTHERS) for w in text.split())


def number_words(n: int) -> str:
    """Return an integer in words without "and": 120 is "one hundred twenty".

    Raises:
        ValueError: |n| is a thousand million or more.
    """
    if abs(n) >= MAX_SPOKEN:
        raise ValueError(f"{n} is too large to be said")
    if n < 0:
        return f"minus {number_words(-n)}"
    if n < 20:
        return ONES[n]
    if n < 100:
        return _joined(TENS[n // 10], n % 10)
    for size, name in ((10**6, "million"), (1000, "thousand"), (100, "hundred")):
        if n >= size:
            return _joined(f"{number_words(n // size)} {name}", n % size)
    raise AssertionError("unreachable: n >= 100")


def _joined(head: str, rest: int) -> str:
    return f"{head} {number_words(rest)}" if rest else head


def value_words(value: float) -> str:
    """Return a tool's value in words; decimals digit by digit: 3.1 is "three point one"."""
    text = f"{value:.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    whole, _, digits = text.partition(".")
    words = number_words(abs(int(whole)))
    if digits:
        words = " ".join([words, "point", *(ONES[int(digit)] for digit in digits)])
    return f"minus {words}" if text.startswith("-") else words


def ordinal_words(n: int) -> str:
    """Return an ordinal from 1 to 39 in words: 21 is "twenty first"."""
    if not 1 <= n <= 39:
        raise ValueError(f"no ordinal for {n}")
    if n <= 20:
        return ORDINALS[n]
    return "thirtieth" if n == 30 else f"{TENS[n // 10]} {ORDINALS[n % 10]}"


def clock_words(time: str) -> str:
    """Return a 24-hour time in words.

    "15:42" is "fifteen forty two", "07:05" "seven oh five", "07:00" "seven o'clock".
    """
    hour, minute = (int(part) for part in time.split(":"))
    if minute == 0:
        return f"{number_words(hour)} o'clock"
    return f"{number_words(hour)} {'oh ' if minute < 10 else ''}{number_words(minute)}"


_NUMBER: Final = re.compile(r"(?<![\d.])-?\d+(?:\.\d+)?")


def spoken_words(text: str) -> list[str]:
    """Return the words of a text as a judge hears them: lower case, digits said, no punctuation."""
    said = _NUMBER.sub(_say, text.replace("’", "'"))
    words = (word.strip("'") for word in re.findall(r"[a-z']+", said.lower()))
    return [word for word in words if word]


def _say(match: re.Match[str]) -> str:
    text = match[0]
    if len(text) > 12:  # not a number that anybody says: digit by digit
        return " ".join(ONES[int(c)] for c in text if c.isdigit())
    return f" {value_words(float(text) if '.' in text else int(text))} "
