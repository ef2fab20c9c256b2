"""The tools that nano was trained with, and their seeded fakes.

Results have the layout of `results`, which is what the model learned to read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from step_audio.core import toolformat
from step_audio.core.errors import ToolError
from step_audio.core.ports import Clock, ToolSpec
from step_audio.core.types import ToolCall, ToolResult
from step_audio.nano.tools import results
from step_audio.nano.tools.arithmetic import evaluate
from step_audio.nano.tools.specs import SPECS
from step_audio.nano.tools.units import convert
from step_audio.tools.arguments import parse_arguments
from step_audio.tools.clock import WallClock
from step_audio.tools.weather import Weather

# Words of providers -> the conditions that nano was trained with. First match wins.
_WORDS: Final = (
    ("thunder", "stormy"),
    ("storm", "stormy"),
    ("snow", "snowy"),
    ("sleet", "snowy"),
    ("blizzard", "snowy"),
    ("rain", "rainy"),
    ("drizzle", "rainy"),
    ("shower", "rainy"),
    ("fog", "foggy"),
    ("mist", "foggy"),
    ("haze", "foggy"),
    ("wind", "windy"),
    ("breez", "windy"),
    ("sun", "sunny"),
    ("cloud", "cloudy"),
    ("overcast", "cloudy"),
    ("clear", "clear"),
)


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
        self._weather = weather

    def time(self, city: str | None) -> str:
        """Return the time at home or in a known city. Raises ToolError: no zone database."""
        now = self._now(self._home)
        if city is not None:
            try:
                now = self._now(ZoneInfo(results.CITY_ZONES[city]))
            except (ZoneInfoNotFoundError, OSError):
                raise ToolError(
                    "this machine has no time zone database; install the package tzdata"
                ) from None
        return results.time_output(now.hour, now.minute)

    def date(self) -> str:
        """Return today at home."""
        return results.date_output(self._now(self._home).date())

    async def weather(self, city: str) -> str:
        """Return what the provider says, "unavailable" without one. Raises ToolError."""
        if self._weather is None:
            return toolformat.UNAVAILABLE
        now = await self._weather.at(city)
        return results.weather_output(_trained(now.condition), round(now.celsius))

    def _now(self, zone: tzinfo | None) -> datetime:
        return datetime.fromtimestamp(self._clock.now_s(), UTC).astimezone(zone)


def _trained(condition: str) -> str:
    """Return the trained condition that a provider's words mean, else the words themselves."""
    text = condition.lower()
    return next((known for word, known in _WORDS if word in text), text)


class FakeValues:
    """Invented live values, a function of the seed and the arguments only."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def time(self, city: str | None) -> str:
        """Return an invented time."""
        return results.fake_time(self._seed, city)

    def date(self) -> str:
        """Return an invented date."""
        return results.fake_date(self._seed)

    async def weather(self, city: str) -> str:
        """Return an invented weather."""
        return results.fake_weather(self._seed, city)


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
            "calculate": lambda a: results.calculate_output(evaluate(a["expression"])),
            "get_time": lambda a: live.time(a.get("city")),
            "get_date": lambda a: live.date(),
            "get_weather": lambda a: live.weather(a["city"]),
            "set_timer": lambda a: results.timer_output(),
            "convert_units": lambda a: results.convert_output(
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
            after_s, text = float(arguments["seconds"]), results.TIMER_OVER
            return ToolResult(call.call_id, call.name, output, after_s, text)
        return ToolResult(call.call_id, call.name, output)


class FakeTools(NanoTools):
    """Tools whose live values are invented from a seed, for tests and evaluation."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, WallClock())
