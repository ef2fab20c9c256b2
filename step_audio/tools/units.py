"""Conversion between units, by `pint`, whose registry takes a third of a second to read, once.

pint works out numbers in the names of units, also `9**9**9`, and splits long names in every way:
only names and single exponents of a bounded length reach it.
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from step_audio.core.errors import ToolError

if TYPE_CHECKING:
    from pint import UnitRegistry

MAX_CHARS: Final = 60
MAX_VALUE: Final = 10**15
_DIGITS: Final = 7

_FACTOR: Final = r"°?[^\W\d_]+(?:[ -][^\W\d_]+)*(?:(?:\^|\*\*)?[2-4]|[²³])?"
_UNIT: Final = re.compile(rf"{_FACTOR}(?:\s?[/*·]\s?{_FACTOR})*")
_EXPONENT: Final = re.compile(r"(?<=[^\W\d_])(?:\^|\*\*)?([2-4])")
_TEMPERATURE: Final = re.compile(r"degrees? (celsius|fahrenheit|kelvin)", re.IGNORECASE)
_COUNTRIES: Final = ((r"\b(?:us|american) ", ""), (r"\b(?:uk|british) ", "imperial "))
_INNER_SPACE: Final = re.compile(
    r"(?<!\bper)(?<!\bsquare)(?<!\bcubic)[ -](?!per\b|squared\b|cubed\b)", re.IGNORECASE
)


def convert(value: float, source: str, target: str) -> int | float:
    """Return `value` of unit `source` in unit `target`, with seven digits.

    Args:
        source, target: English names or symbols: `km`, `miles per hour`, `m^2`, `fluid ounces`,
            `°C`; spelling of either side of the Atlantic.

    Raises:
        ToolError: an unknown unit, two that do not measure the same, or a value that is no number
            or beyond 10^15.
    """
    from pint import DimensionalityError, PintError  # noqa: PLC0415 - a fifth of a second

    if not abs(value) <= MAX_VALUE:
        raise ToolError("value must be a number between -10^15 and 10^15")
    registry = _registry()
    units = [_unit(registry, name) for name in (source, target)]
    try:
        with np.errstate(all="ignore"):  # pint's logarithmic units; what overflows is refused below
            exact = registry.Quantity(value, units[0]).to(units[1]).magnitude
    except DimensionalityError:
        raise ToolError(f"{source!r} and {target!r} do not measure the same thing") from None
    except (PintError, ArithmeticError, ValueError):
        raise ToolError(f"cannot convert {source!r} to {target!r}") from None
    if not math.isfinite(exact):
        raise ToolError("the result is too large")
    rounded = float(f"{exact:.{_DIGITS}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) <= MAX_VALUE else rounded


def _unit(registry: UnitRegistry[Any], name: str) -> Any:
    """Return a unit by the first way of writing its name that pint knows."""
    text = " ".join(name.split())
    if len(text) > MAX_CHARS or not _UNIT.fullmatch(text):
        raise ToolError(f"{name[:40]!r} is no name of a unit")
    for country, prefix in _COUNTRIES:  # pint's gallon is that of the United States
        text = re.sub(country, prefix, text, flags=re.IGNORECASE)
    text = _EXPONENT.sub(r"**\1", _TEMPERATURE.sub(lambda degrees: degrees[1].lower(), text))
    joined = _INNER_SPACE.sub("_", text)  # pint would multiply: fluid times ounce
    for way in dict.fromkeys((text, joined, text.lower(), joined.lower())):
        try:
            return registry.parse_units(way)
        except (AttributeError, ValueError, TypeError, AssertionError):  # unknown, as pint says it
            continue
    raise ToolError(f"unknown unit {name[:40]!r}; give its English name or its symbol")


@cache
def _registry() -> UnitRegistry[Any]:
    from pint import UnitRegistry  # noqa: PLC0415

    return UnitRegistry()
