"""Numbers as people write them, and as English words, for what the grammar misreads."""

from __future__ import annotations

import re
from typing import Final

AMOUNT: Final = (
    r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,3}(?:\.\d{3})+(?:,\d{1,2})?(?!\d)"
    r"|\d{1,3}(?:['’ ]\d{3})+(?:[.,]\d{1,2})?(?!\d)|\d+(?:[.,]\d+)?|\.\d+)"
)
"""A number with marks between its thousands, in any country's way."""

_ONES: Final[list[str]] = re.findall(
    r"[\w:-]+",
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen",
)
_TENS: Final[list[str]] = re.findall(
    r"[\w:-]+", "_ ten twenty thirty forty fifty sixty seventy eighty ninety"
)
_SCALES: Final = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"))
_ORDINALS: Final = {
    **{"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth"},
    **{"nine": "ninth", "twelve": "twelfth"},
}
_LARGEST: Final = 10**15


def cardinal(number: int) -> str:
    """Return a number in words, American usage: no "and"; from a thousand billions on, digits."""
    if number >= _LARGEST:
        return digits(str(number))
    for size, name in _SCALES:
        if number >= size:
            rest = number % size
            return f"{cardinal(number // size)} {name}" + (f" {cardinal(rest)}" if rest else "")
    if number >= 100:
        rest = number % 100
        return f"{_ONES[number // 100]} hundred" + (f" {cardinal(rest)}" if rest else "")
    if number < 20:
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens] + (f" {_ONES[ones]}" if ones else "")


def ordinal(number: int) -> str:
    """Return the place of a number in words: "twenty first"."""
    *before, last = cardinal(number).split()
    if last in _ORDINALS:
        last = _ORDINALS[last]
    else:
        last = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
    return " ".join([*before, last])


def year(number: int) -> str:
    """Return a year in words: "nineteen oh five", "two thousand five", "twenty twenty four"."""
    century, rest = divmod(number, 100)
    if not 1000 <= number < 2100 or (century % 10 == 0 and rest < 10):
        return cardinal(number)
    if rest == 0:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def digits(number: str) -> str:
    """Return a number digit by digit."""
    return " ".join(_ONES[int(digit)] for digit in number if digit.isdigit())


def decimal(number: str) -> str:
    """Return a plain number such as "1234.5" in words."""
    whole, _, part = number.partition(".")
    said = cardinal(int(whole)) if whole else "zero"
    return f"{said} point {digits(part)}" if part else said


def plain_number(amount: str, *, thousands_point: bool = False) -> str:
    """Return an AMOUNT as figures with a point alone: "1.000,50" is "1000.50".

    Args:
        thousands_point: whether "1.000" is a thousand, as where people pay in euros.
    """
    amount = re.sub(r"['’ ]", "", amount)
    point, comma = amount.rfind("."), amount.rfind(",")
    if point >= 0 and comma >= 0:
        if comma > point:
            return amount.replace(".", "").replace(",", ".")
        return amount.replace(",", "")
    if comma >= 0:
        return amount.replace(",", "" if re.fullmatch(r"\d{1,3}(?:,\d{3})+", amount) else ".")
    if amount.count(".") > 1 or (thousands_point and re.fullmatch(r"\d{1,3}\.\d{3}", amount)):
        return amount.replace(".", "")
    return amount
