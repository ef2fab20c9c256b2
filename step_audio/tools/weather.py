"""The weather from an HTTP provider that the profile names.

Any provider will do that answers GET with JSON; where in its answer condition and temperature
stand is said by paths such as `current_condition.0.temp_C`.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import quote

from step_audio.core.errors import ToolError

MAX_BYTES: Final = 1 << 20
_PLACE: Final = re.compile(r"[^\W\d_]+(?:[ .'-]+[^\W\d_]+)*\.?")


@dataclass(frozen=True, slots=True)
class WeatherNow:
    """The provider's words for the sky, and degrees Celsius."""

    condition: str
    celsius: float


class Weather(Protocol):
    """Where the weather comes from. Raises ToolError."""

    async def at(self, city: str) -> WeatherNow: ...


@dataclass(frozen=True, slots=True)
class HttpWeather:
    """A provider by address.

    Attributes:
        url: with `{city}` where the city's name goes.
        condition, temperature: paths into the answer; degrees Celsius, a number or its text.
        timeout_s: for all of it.
    """

    url: str
    condition: str = "condition"
    temperature: str = "temperature"
    timeout_s: float = 5.0

    async def at(self, city: str) -> WeatherNow:
        """Return the weather of a city.

        Raises:
            ToolError: the provider cannot be reached, refuses, or answers something else.
        """
        if not _PLACE.fullmatch(city):
            raise ToolError(f"{city[:40]!r} is no name of a place")
        answer = await self._get(self.url.replace("{city}", quote(city, safe="")))
        condition, temperature = _walk(answer, self.condition), _walk(answer, self.temperature)
        try:
            degrees = float(temperature)
        except (TypeError, ValueError):
            degrees = math.nan
        if not math.isfinite(degrees):
            raise ToolError(f"the weather provider's {self.temperature} is no number") from None
        if not isinstance(condition, str):
            raise ToolError(f"the weather provider's {self.condition} is no text")
        return WeatherNow(condition.strip()[:80], degrees)

    async def _get(self, url: str) -> Any:
        import httpx  # noqa: PLC0415 - a tenth of a second that most deployments need not spend

        body = b""
        try:
            async with (
                httpx.AsyncClient(timeout=self.timeout_s) as client,
                client.stream("GET", url) as response,
            ):
                if response.status_code != 200:
                    raise ToolError(f"the weather provider answers {response.status_code}")
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > MAX_BYTES:
                        raise ToolError("the weather provider's answer is too long")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ToolError(f"no weather provider: {error.__class__.__name__}") from None
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise ToolError("the weather provider's answer is not JSON") from None


def _walk(value: Any, path: str) -> Any:
    """Return what stands at a path of keys and indices."""
    for step in path.split("."):
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, TypeError, ValueError):
            raise ToolError(f"the weather provider's answer has no {path}") from None
    return value
