"""What the tools of nano are called and what they take. Facts of the checkpoint: it knows these."""

from __future__ import annotations

from typing import Any, Final

from step_audio.core.ports import ToolSpec
from step_audio.nano.tools.arithmetic import MAX_CHARS
from step_audio.nano.tools.results import CITY_ZONES, MAX_TIMER_S
from step_audio.nano.tools.units import MAX_VALUE, UNITS

_CITY: Final = {"type": "string", "enum": list(CITY_ZONES), "description": "City in English"}


def _object(required: tuple[str, ...], **properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


# Providers know more places than we do time zones.
_PLACE: Final = {"type": "string", "maxLength": 40, "description": "City or country in English"}
_UNIT: Final = {"type": "string", "enum": list(UNITS)}

SPECS: Final[dict[str, ToolSpec]] = {
    spec.name: spec
    for spec in (
        ToolSpec(
            "calculate",
            "Work out an arithmetic expression of numbers, + - * / and brackets.",
            _object(("expression",), expression={"type": "string", "maxLength": MAX_CHARS}),
            callable_early=True,
        ),
        ToolSpec(
            "get_time",
            "Tell the time of day here, or in a city.",
            _object((), city=_CITY),
            callable_early=True,
        ),
        ToolSpec(
            "get_date", "Tell today's weekday, day and month.", _object(()), callable_early=True
        ),
        ToolSpec(
            "get_weather",
            "Tell the weather in a city: condition and degrees Celsius.",
            _object(("city",), city=_PLACE),
        ),
        ToolSpec(
            "set_timer",
            "Start a timer; the assistant speaks up when it ends.",
            _object(
                ("seconds",), seconds={"type": "integer", "minimum": 1, "maximum": MAX_TIMER_S}
            ),
        ),
        ToolSpec(
            "convert_units",
            "Convert a length, weight, volume or temperature.",
            _object(
                ("value", "from", "to"),
                value={"type": "number", "minimum": -MAX_VALUE, "maximum": MAX_VALUE},
                **{"from": _UNIT, "to": _UNIT},
            ),
            callable_early=True,
        ),
    )
}
