import numpy as np
import pytest

from step_audio.core.errors import EngineError
from step_audio.core.types import Pcm
from step_audio.eval.examinee import AnswerRecord, ask, same_call

SUM = ("calculate", '{"expression":"12+30"}')


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (("calculate", '{ "expression": "12 + 30" }'), True),
        (("calculate", '{"expression":"30+12"}'), False),
        (("convert_units", '{"expression":"12+30"}'), False),
        (("calculate", "{broken"), False),
    ],
)
def test_calls_are_compared_by_meaning(other: tuple[str, str], same: bool) -> None:
    assert same_call(other, SUM) is same


def test_numbers_are_equal_in_any_form() -> None:
    assert same_call(("t", '{"seconds":60,"b":true}'), ("t", '{"b":true,"seconds":60.0}'))


def test_failure_of_the_system_is_a_record() -> None:
    def broken(pcm: Pcm, rate_hz: int) -> AnswerRecord:
        raise EngineError("no more ids")

    record = ask(broken, np.zeros(10, dtype=np.float32), 16_000)
    assert record.error == "engine_failed: no more ids"
    assert len(record.pcm) == 0
