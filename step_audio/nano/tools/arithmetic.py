"""Bounded arithmetic on text: + - * / and brackets, exact, without `eval`.

Expressions come from a language model or a client and are hostile until parsed.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

from step_audio.core.errors import ToolError

MAX_CHARS: Final = 64
MAX_MAGNITUDE: Final = 10**12
DECIMALS: Final = 4

_TOKEN: Final = re.compile(r"\s*(?:(\d{1,9}(?:\.\d{1,6})?)|([-+*/()]))")


def evaluate(expression: str) -> int | float:
    """Return the value of an arithmetic expression; a float has at most 4 decimals.

    Raises:
        ToolError: too long, not arithmetic, division by zero, or beyond 10^12.
    """
    if len(expression) > MAX_CHARS:
        raise ToolError(f"expression has {len(expression)} characters; at most {MAX_CHARS}")
    parser = _Parser(_tokens(expression))
    value = parser.total()
    parser.end()
    return int(value) if value.denominator == 1 else round(float(value), DECIMALS)


def _tokens(expression: str) -> list[str]:
    tokens: list[str] = []
    at, text = 0, expression.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or not text.isascii():
            raise ToolError(f"not arithmetic at character {at + 1}; use digits, + - * / and ( )")
        tokens.append(match[1] or match[2])
        at = match.end()
    return tokens


class _Parser:
    """Recursive descent; depth is bounded by the length of the expression."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0

    def _take(self, wanted: str) -> str | None:
        if self._at < len(self._tokens) and self._tokens[self._at] in wanted:
            self._at += 1
            return self._tokens[self._at - 1]
        return None

    def total(self) -> Fraction:
        value = self._term()
        while sign := self._take("+-"):
            term = self._term()
            value = _bounded(value + term if sign == "+" else value - term)
        return value

    def _term(self) -> Fraction:
        value = self._factor()
        while sign := self._take("*/"):
            factor = self._factor()
            if sign == "/" and factor == 0:
                raise ToolError("division by zero")
            value = _bounded(value * factor if sign == "*" else value / factor)
        return value

    def _factor(self) -> Fraction:
        if self._take("-"):
            return -self._factor()
        if self._take("("):
            value = self.total()
            if not self._take(")"):
                raise ToolError("a bracket is not closed")
            return value
        if self._at >= len(self._tokens) or not self._tokens[self._at][0].isdigit():
            raise ToolError("a number is missing in the expression")
        self._at += 1
        return Fraction(self._tokens[self._at - 1])

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise ToolError(f"unexpected {self._tokens[self._at]!r} in the expression")


def _bounded(value: Fraction) -> Fraction:
    if abs(value) > MAX_MAGNITUDE:
        raise ToolError("the result is beyond 10^12")
    return value
