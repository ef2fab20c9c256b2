"""Units as people and models name them, and names that are meant to hang pint."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_audio.core.errors import ToolError
from step_audio.tools.units import convert


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        (3, "km", "miles", 1.864114),
        (20, "degrees Celsius", "Fahrenheit", 68),
        (20, "celsius", "kelvin", 293.15),
        (1, "°C", "°F", 33.8),
        (60, "miles per hour", "km/h", 96.56064),
        (1, "square meters", "ft²", 10.76391),
        (1, "m2", "cm^2", 10_000),
        (1, "fluid ounces", "ml", 29.57353),
        (1, "Nautical Miles", "kilometres", 1.852),
        (1, "US gallons", "liters", 3.785412),
        (1, "UK gallon", "litres", 4.54609),
        (5, "KM", "m", 5000),
        (1, "kilowatt hours", "MJ", 3.6),
        (1, "cubic inches", "cups", 0.06926407),
        (1, "light-year", "parsecs", 0.3066014),
        (90, "minutes", "hours", 1.5),
        (1, "GB", "MB", 1000),
    ],
)
def test_units_convert_as_people_name_them(
    value: float, source: str, target: str, expected: float
) -> None:
    assert convert(value, source, target) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("kg", "do not measure the same"),
        ("dB", "do not measure the same"),
        ("furlongish", "unknown unit"),
        ("公里", "unknown unit"),
        ("a" * 10_000, "no name of a unit"),
        ("m**9**9**9", "no name of a unit"),
        ("m**99999999999", "no name of a unit"),
        ("m" + "/m" * 5000, "no name of a unit"),
        ("(((", "no name of a unit"),
        ("10 km", "no name of a unit"),
        ("__class__", "no name of a unit"),
        ("", "no name of a unit"),
    ],
)
def test_what_is_no_unit_of_that_kind_is_said(source: str, why: str) -> None:
    with pytest.raises(ToolError, match=why):
        convert(1, source, "m")


@pytest.mark.parametrize("value", [math.nan, math.inf, 2e15])
def test_a_value_that_nobody_measures_is_refused(value: float) -> None:
    with pytest.raises(ToolError, match="between"):
        convert(value, "km", "miles")


def test_a_result_beyond_all_numbers_is_refused() -> None:
    with pytest.raises(ToolError, match="too large"):
        convert(1e15, "dBm", "W")


@given(st.text(st.sampled_from("kmsghCF°/*^2³ per-squaredcubic"), max_size=30))
def test_any_name_gives_a_number_or_a_tool_error(name: str) -> None:
    with suppress(ToolError):
        assert math.isfinite(convert(3, name, "m"))
