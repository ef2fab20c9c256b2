from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_audio.core.errors import ToolError
from step_audio.nano.tools.arithmetic import evaluate
from step_audio.nano.tools.units import FACTORS, convert


@given(st.integers(0, 999), st.integers(0, 999), st.integers(1, 99))
def test_arithmetic_keeps_precedence_and_is_exact(a: int, b: int, c: int) -> None:
    assert evaluate(f"{a}+{b}*{c}") == a + b * c
    assert evaluate(f"({a}-{b})*{c}") == (a - b) * c
    assert evaluate(f"{a}-{b}-{c}") == a - b - c
    assert evaluate(f"{a}/{c}") == pytest.approx(float(Fraction(a, c)), abs=5.01e-5)


def test_decimals_are_exact() -> None:
    assert evaluate("0.1+0.2") == 0.3
    assert evaluate("-2+5") == 3


@given(st.sampled_from(sorted(FACTORS)), st.integers(1, 100))
def test_conversion_there_and_back_returns_the_value(pair: tuple[str, str], value: int) -> None:
    there = convert(value, *pair)
    back = convert(there, *reversed(pair))
    assert back == pytest.approx(value, abs=0.3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2_000_000])
def test_a_value_that_nobody_measures_is_refused(value: float) -> None:
    with pytest.raises(ToolError, match="between"):
        convert(value, "km", "miles")
