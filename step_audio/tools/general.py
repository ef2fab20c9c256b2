"""The built-in tools: clock, calculator, units, timers and, with a provider, the weather.

nano has others, which it knows by heart (`step_audio.nano.tools`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

from step_audio.core.errors import ToolError
from step_audio.core.ports import Clock, ToolSpec
from step_audio.core.toolformat import compact
from step_audio.core.types import ToolCall, ToolResult
from step_audio.tools import calculator, units
from step_audio.tools.arguments import parse_arguments
from step_audio.tools.clock import time_output, zone_of
from step_audio.tools.weather import Weather

MAX_TIMER_S: Final = 60 * 3600
_TIMER_OVER: Final = "Your timer is over."


def _spec(
    name: str,
    description: str,
    required: tuple[str, ...],
    *,
    callable_early: bool = False,
    **properties: Any,
) -> ToolSpec:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }
    return ToolSpec(name, description, parameters, callable_early)


def _text(description: str, most: int) -> dict[str, Any]:
    return {"type": "string", "maxLength": most, "description": description}


_UNIT: Final = _text("Name in English or symbol: km, miles per hour, m^2, celsius", units.MAX_CHARS)
_SPECS: Final = (
    _spec(
        "get_current_time",
        "Tell the date, weekday and time of day here, or in a time zone.",
        (),
        callable_early=True,
        timezone=_text("Name of the tz database, such as Europe/Paris; left out: here", 64),
    ),
    _spec(
        "calculate",
        "Work out an arithmetic expression: + - * / % ** and brackets; pi, e, "
        + ", ".join(calculator.FUNCTIONS)
        + ".",
        ("expression",),
        callable_early=True,
        expression=_text("Such as (3 + 4) * 2**0.5", calculator.MAX_CHARS),
    ),
    _spec(
        "convert_units",
        "Convert a value between units of any kind that measure the same.",
        ("value", "from", "to"),
        callable_early=True,
        value={"type": "number", "minimum": -units.MAX_VALUE, "maximum": units.MAX_VALUE},
        **{"from": _UNIT, "to": _UNIT},
    ),
    _spec(
        "set_timer",
        "Start a timer; the assistant speaks up when it ends.",
        ("seconds",),
        seconds={"type": "integer", "minimum": 1, "maximum": MAX_TIMER_S},
        message=_text("What to say then, in the language of the user", 200),
    ),
)
_WEATHER: Final = _spec(
    "get_weather",
    "Tell the weather in a city: condition and degrees Celsius.",
    ("city",),
    city=_text("City in English", 40),
)


class GeneralTools:
    """A `ToolBox` of what an assistant of any model is asked for every day."""

    def __init__(
        self, clock: Clock, home: ZoneInfo | None = None, weather: Weather | None = None
    ) -> None:
        """Choose where live values come from.

        Args:
            clock: counts seconds since 1970 UTC, such as `WallClock`.
            home: the zone of "here"; None: the zone of this machine.
            weather: the provider; None: there is no tool for the weather.
        """
        self._clock, self._home, self._weather = clock, home, weather
        self._specs = {spec.name: spec for spec in (*_SPECS, *((_WEATHER,) if weather else ()))}
        self._run: dict[str, Callable[[dict[str, Any]], Awaitable[str]]] = {
            "get_current_time": self._time,
            "calculate": self._calculate,
            "convert_units": self._convert,
            "set_timer": self._timer,
            "get_weather": self._current_weather,
        }

    def specs(self) -> Sequence[ToolSpec]:
        """Return the tools in a fixed order."""
        return tuple(self._specs.values())

    async def call(self, call: ToolCall) -> ToolResult:
        """Carry out a call. Raises ToolError: unknown tool, or arguments that do not fit."""
        spec = self._specs.get(call.name)
        if spec is None:
            raise ToolError(f"unknown tool {call.name[:40]!r}; known: {', '.join(self._specs)}")
        arguments = parse_arguments(spec, call.arguments)
        output = await self._run[call.name](arguments)
        if call.name == "set_timer":
            message = arguments.get("message", _TIMER_OVER)
            return ToolResult(call.call_id, call.name, output, float(arguments["seconds"]), message)
        return ToolResult(call.call_id, call.name, output)

    async def _time(self, arguments: dict[str, Any]) -> str:
        zone = self._home
        if "timezone" in arguments:
            # The first call reads the list of zones, which takes longer than a frame of sound.
            zone = await asyncio.to_thread(zone_of, arguments["timezone"])
        return time_output(self._clock, zone)

    async def _calculate(self, arguments: dict[str, Any]) -> str:
        return compact(result=calculator.calculate(arguments["expression"]))

    async def _convert(self, arguments: dict[str, Any]) -> str:
        # The first call loads the registry of units.
        value = await asyncio.to_thread(
            units.convert, arguments["value"], arguments["from"], arguments["to"]
        )
        return compact(value=value, unit=arguments["to"])

    async def _timer(self, arguments: dict[str, Any]) -> str:
        return compact(ok=True)

    async def _current_weather(self, arguments: dict[str, Any]) -> str:
        assert self._weather is not None
        now = await self._weather.at(arguments["city"])
        return compact(condition=now.condition, celsius=round(now.celsius))
