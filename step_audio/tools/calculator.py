"""Arithmetic on text that a model or a client wrote, by `simpleeval`: no `eval`, all bounded.

The library walks the syntax tree over the operators and functions named here. Left to itself it
spends seconds on 9**4000000 and takes strings, comprehensions and attributes; none of that passes.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from typing import Any, Final

from simpleeval import FunctionNotDefined, InvalidExpression, SimpleEval

from step_audio.core.errors import ToolError

MAX_CHARS: Final = 200
_MAX_BITS: Final = 1024
"""Of a power: as many as a float's largest."""
_MAX_FACTORIAL: Final = 170
_MAX_PLACES: Final = 15
_EXACT: Final = 10**30
"""Whole numbers up to here are given in full."""
_DIGITS: Final = 12

_WRONG: Final = (SyntaxError, ValueError, TypeError, AttributeError, RecursionError, MemoryError)
_CHARACTERS: Final = re.compile(r"[0-9A-Za-z\s.+*/%(),-]*")
_GLUED: Final = re.compile(r"\d(?!e[+-]?\d)[A-Za-z]|\d[eE][+-]?\d{4}")  # 5pi, 0x1f, 1e9999
_THOUSANDS: Final = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_SIGNS: Final = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", ":": "/"})
_NODES: Final = (ast.Expr, ast.Constant, ast.Name, ast.BinOp, ast.UnaryOp, ast.Call)


def calculate(expression: str) -> int | float:
    """Return the value of an expression; a float has twelve digits.

    Args:
        expression: numbers, + - * / % ** (or ^), brackets, pi, e, and the functions of
            `FUNCTIONS`; without functions, thousands may be separated by commas.

    Raises:
        ToolError: too long, not arithmetic, not defined there, or too large.
    """
    if len(expression) > MAX_CHARS:
        raise ToolError(f"the expression has {len(expression)} characters; at most {MAX_CHARS}")
    text = expression.translate(_SIGNS).replace("^", "**").strip()
    if not any(letter.isalpha() for letter in text):  # max(1,200) has two arguments
        text = _THOUSANDS.sub(lambda number: number[0].replace(",", ""), text)
    if not _CHARACTERS.fullmatch(text) or _GLUED.search(text):
        raise ToolError("not arithmetic; use numbers, + - * / % ** and ( )")
    try:
        value = _evaluator().eval(text)
    except ZeroDivisionError:
        raise ToolError("division by zero") from None
    except OverflowError:
        raise ToolError("the result is too large") from None
    except FunctionNotDefined as error:
        known = ", ".join(FUNCTIONS)
        raise ToolError(f"unknown function {error.func_name[:20]!r}; known: {known}") from None
    except (InvalidExpression, *_WRONG):
        raise ToolError("not arithmetic, or not defined there") from None
    return _number(value)


def _power(base: float, exponent: float) -> float:
    if abs(base) > 1 and abs(exponent) * math.log2(abs(base)) > _MAX_BITS:
        raise OverflowError
    value: float = _checked(base**exponent)
    return value


def _checked(value: Any) -> Any:
    """Refuse what is beyond a power's bound, so that no chain of products grows without end."""
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise OverflowError
    return value


def _factorial(n: float) -> int:
    if n > _MAX_FACTORIAL:
        raise OverflowError
    if n != int(n):
        raise ValueError
    return math.factorial(int(n))


def _round(value: float, places: float = 0) -> float:
    if abs(places) > _MAX_PLACES:
        raise OverflowError  # Python's own works out 10 to that power
    return round(value, int(places)) if places else round(value)


_OPERATORS: Final[dict[type[ast.AST], Callable[..., Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: lambda a, b: _checked(a * b),
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "abs": abs,
    "round": _round,
    "floor": math.floor,
    "ceil": math.ceil,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "ln": math.log,
    "log10": math.log10,
    "log2": math.log2,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "radians": math.radians,
    "degrees": math.degrees,
    "factorial": _factorial,
    "min": min,
    "max": max,
}


def _evaluator() -> SimpleEval:
    evaluator = SimpleEval(_OPERATORS, FUNCTIONS, {"pi": math.pi, "e": math.e})
    evaluator.nodes = {kind: run for kind, run in evaluator.nodes.items() if kind in _NODES}
    return evaluator


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ToolError("the result is not a number")
    if isinstance(value, int):
        return value if abs(value) <= _EXACT else _number(float(value))
    if not math.isfinite(value):
        raise ToolError("the result is too large")
    rounded = float(f"{value:.{_DIGITS}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 10**_DIGITS else rounded
