"""The tools that nano was trained with, and their seeded fakes.

Results have the layout of `core.toolformat`, which is what the model learned to read.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from step_audio.core import toolformat
from step_audio.core.arithmetic import evaluate
from step_audio.core.errors import ToolError
from step_audio.core.ports import Clock, ToolSpec
from step_audio.core.types import ToolCall, ToolResult
from step_audio.nano.tools.specs import SPECS
from step_audio.nano.tools.units import convert
from step_audio.tools.arguments import parse_arguments
from step_audio.tools.weather import NoWeather, Weather


class WallClock:
    """The machine's clock of the day."""

    def now_s(self) -> float:
        """Return seconds since 1970 UTC."""
        return time.time()


class LiveValues(Protocol):
    """Where time, date and weather come from; each returns the JSON text of a result."""

    def time(self, city: str | None) -> str: ...
    def date(self) -> str: ...
    async def weather(self, city: str) -> str: ...


class WorldValues:
    """Live values of the real world; `clock` counts seconds since 1970 UTC."""

    def __init__(
        self, clock: Clock, home: tzinfo | None = None, weather: Weather | None = None
    ) -> None:
        """`home` is the zone of "here"; None: the zone of this machine."""
        self._clock, self._home = clock, home
        self._weather = weather or NoWeather()

    def time(self, city: str | None) -> str:
        """Return the time at home or in a known city. Raises ToolError: no zone database."""
        now = self._now(self._home)
        if city is not None:
            try:
                now = self._now(ZoneInfo(toolformat.CITY_ZONES[city]))
            except (ZoneInfoNotFoundError, OSError):
                raise ToolError(
                    "this machine has no time zone database; install the package tzdata"
                ) from None
        return toolformat.time_output(now.hour, now.minute)

    def date(self) -> str:
        """Return today at home."""
        return toolformat.date_output(self._now(self._home).date())

    async def weather(self, city: str) -> str:
        """Return what the provider says, "unavailable" without one. Raises ToolError."""
        return await self._weather.at(city)

    def _now(self, zone: tzinfo | None) -> datetime:
        return datetime.fromtimestamp(self._clock.now_s(), UTC).astimezone(zone)


class FakeValues:
    """Invented live values, a function of the seed and the arguments only."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def time(self, city: str | None) -> str:
        """Return an invented time."""
        return toolformat.fake_time(self._seed, city)

    def date(self) -> str:
        """Return an invented date."""
        return toolformat.fake_date(self._seed)

    async def weather(self, city: str) -> str:
        """Return an invented weather."""
        return toolformat.fake_weather(self._seed, city)


class NanoTools:
    """The `ToolBox` of nano: validates what the model wrote, then computes or looks up.

    A timer is acknowledged at once; its result says what is to be announced when.
    """

    def __init__(
        self,
        seed: int | None,
        clock: Clock,
        home: tzinfo | None = None,
        weather: Weather | None = None,
    ) -> None:
        """Choose where live values come from.

        Args:
            seed: invent time, date and weather from it; None: the real ones.
            clock: counts seconds since 1970 UTC, such as `WallClock`; not used with a seed.
            home: the zone of "here"; None: the zone of this machine.
            weather: the provider; None: there is none.
        """
        live: LiveValues = WorldValues(clock, home, weather) if seed is None else FakeValues(seed)
        self._run: dict[str, Callable[[dict[str, Any]], str | Awaitable[str]]] = {
            "calculate": lambda a: toolformat.calculate_output(evaluate(a["expression"])),
            "get_time": lambda a: live.time(a.get("city")),
            "get_date": lambda a: live.date(),
            "get_weather": lambda a: live.weather(a["city"]),
            "set_timer": lambda a: toolformat.timer_output(),
            "convert_units": lambda a: toolformat.convert_output(
                convert(a["value"], a["from"], a["to"])
            ),
        }

    def specs(self) -> Sequence[ToolSpec]:
        """Return the tools in a fixed order."""
        return tuple(SPECS.values())

    async def call(self, call: ToolCall) -> ToolResult:
        """Carry out a call. Raises ToolError: unknown tool, or arguments that do not fit."""
        spec = SPECS.get(call.name)
        if spec is None:
            raise ToolError(f"unknown tool {call.name[:40]!r}; known: {', '.join(SPECS)}")
        arguments = parse_arguments(spec, call.arguments)
        output = self._run[call.name](arguments)
        if not isinstance(output, str):
            output = await output
        if call.name == "set_timer":
            after_s, text = float(arguments["seconds"]), toolformat.TIMER_OVER
            return ToolResult(call.call_id, call.name, output, after_s, text)
        return ToolResult(call.call_id, call.name, output)


class FakeTools(NanoTools):
    """Tools whose live values are invented from a seed, for tests and evaluation."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, WallClock())
