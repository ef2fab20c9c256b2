"""Arithmetic that a model wrote: right on sums, unharmed by what is meant to hang or to break."""

from __future__ import annotations

import math
import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_audio.core.errors import ToolError
from step_audio.tools.calculator import MAX_CHARS, calculate


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("12 + 30", 42),
        ("(2 + 3) * -4", -20),
        ("0.1 + 0.2", 0.3),
        ("7 × 8", 56),
        ("9 ÷ 4", 2.25),
        ("2^10", 1024),
        ("-2**2", -4),
        ("1,234,567.5 + 1", 1234568.5),
        ("max(1,200)", 200),
        ("round(3.14159, 2)", 3.14),
        ("sqrt(2) ** 2", 2),
        ("sin(pi / 2) + ln(e)", 2),
        ("17 % 5", 2),
        ("17 // 5", 3),
        ("factorial(20)", 2432902008176640000),
        ("2**99", 2**99),
        ("1 / 3", 0.333333333333),
        ("1e3 * 2", 2000),
    ],
)
def test_sums_are_right(expression: str, value: float) -> None:
    assert calculate(expression) == value


HOSTILE = [
    "9**9**9",
    "9**4000000",
    "9**(9**(9**9))",
    "99**99" + "*99**99" * 20,
    "9**-9**9**9",
    "0.5**-99999",
    "((-8)**0.5)**(2**900)",
    "factorial(9**9)",
    "factorial(1e308)",
    "round(12345, -99999999)",
    "round(5, 2**60)",
    "1e9999",
    "1e308*10 - 1e308*10",
    "1/0",
    "0**-1",
    "5 % 0",
    "'a'*99999999",
    "f'{1:>99999999}'",
    "1<<99999999",
    "[1 for _ in range(9**9)]",
    "(lambda: 1)()",
    "__import__('os')",
    "().__class__",
    "pi.real",
    "open(1)",
    "abs",
    "min(min, 1)",
    "True",
    "",
    "()",
    "(1,2)",
    "1 if 1 else 2",
    "1 and 2",
    "2(3)",
    "(2)(3)",
    "5pi",
    "0x1f",
    "(-8)**0.5",
    "log(-1)",
    "7\x00",
    "٣+٤",
    "(" * 150,
    "1" * (MAX_CHARS + 1),
]


@pytest.mark.parametrize("expression", HOSTILE)
def test_what_is_meant_to_hang_or_to_break_is_refused(expression: str) -> None:
    with pytest.raises(ToolError):
        calculate(expression)


def test_all_hostile_expressions_together_end_within_a_process_limit_of_memory_and_time() -> None:
    code = (
        "import resource, sys\n"
        "from step_audio.tools.calculator import calculate\n"
        "from step_audio.core.errors import ToolError\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (5, 5))\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "for text in eval(sys.stdin.read()):\n"
        "    try: calculate(text)\n"
        "    except ToolError: pass\n"
        "print('done')\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input=repr(HOSTILE), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "done"


@given(st.text(st.sampled_from("0123456789.+-*/%(),^ epiabsround"), max_size=60))
def test_any_text_gives_a_finite_number_or_a_tool_error(text: str) -> None:
    with suppress(ToolError):
        assert math.isfinite(calculate(text))


@given(st.integers(-999, 999), st.integers(-999, 999), st.integers(1, 99))
def test_precedence_is_that_of_python(a: int, b: int, c: int) -> None:
    assert calculate(f"{a}+{b}*{c}") == a + b * c
    assert calculate(f"({a}-{b})/{c}") == pytest.approx((a - b) / c, rel=1e-11)
