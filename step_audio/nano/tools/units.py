"""Unit conversion: the pairs that nano knows, rounded to what can be said aloud."""

from __future__ import annotations

from typing import Final

from step_audio.core.errors import ToolError

# How many of the second unit one of the first is (international definitions; US gallon).
FACTORS: Final[dict[tuple[str, str], float]] = {
    ("km", "miles"): 1 / 1.609344,
    ("kg", "pounds"): 1 / 0.45359237,
    ("meters", "feet"): 1 / 0.3048,
    ("liters", "gallons"): 1 / 3.785411784,
}
UNITS: Final = (*(unit for pair in FACTORS for unit in pair), "celsius", "fahrenheit")
MAX_VALUE: Final = 1_000_000


def convert(value: float, source: str, target: str) -> int | float:
    """Return `value` of unit `source` in unit `target`, rounded to one decimal.

    Raises:
        ToolError: the two units do not measure the same thing, or |value| > 10^6.
    """
    if not abs(value) <= MAX_VALUE:
        raise ToolError(f"value must be between -{MAX_VALUE} and {MAX_VALUE}")
    if (source, target) == ("celsius", "fahrenheit"):
        exact = value * 9 / 5 + 32
    elif (source, target) == ("fahrenheit", "celsius"):
        exact = (value - 32) * 5 / 9
    elif (source, target) in FACTORS:
        exact = value * FACTORS[source, target]
    elif (target, source) in FACTORS:
        exact = value / FACTORS[target, source]
    else:
        raise ToolError(f"cannot convert {source!r} to {target!r}")
    rounded = round(exact, 1)
    return int(rounded) if rounded == int(rounded) else rounded
