"""The results of nano's tools as nano learned to read them: one layout for serving and training.

The `fake_*` functions answer from a seed, so that answers with live values can be checked;
they depend on nothing but their arguments.
"""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import Final

from step_audio.core.toolformat import compact

CONDITIONS: Final[dict[str, tuple[int, int]]] = {  # coldest and warmest, degrees Celsius
    "sunny": (5, 35),
    "cloudy": (-5, 28),
    "rainy": (2, 25),
    "snowy": (-15, 2),
    "windy": (-5, 25),
    "foggy": (-2, 18),
    "clear": (-10, 32),
    "stormy": (5, 30),
}
MAX_TIMER_S: Final = 60 * 3600
TIMER_OVER: Final = "Your timer is over."
"""What the assistant says when a timer ends."""

# IANA zones of the cities that nano knows; offsets and summer time come from zoneinfo.
CITY_ZONES: Final[dict[str, str]] = {
    "Amsterdam": "Europe/Amsterdam",
    "Athens": "Europe/Athens",
    "Bangkok": "Asia/Bangkok",
    "Beijing": "Asia/Shanghai",
    "Berlin": "Europe/Berlin",
    "Boston": "America/New_York",
    "Brussels": "Europe/Brussels",
    "Cairo": "Africa/Cairo",
    "Chicago": "America/Chicago",
    "Delhi": "Asia/Kolkata",
    "Dublin": "Europe/Dublin",
    "Geneva": "Europe/Zurich",
    "Hamburg": "Europe/Berlin",
    "Helsinki": "Europe/Helsinki",
    "Istanbul": "Europe/Istanbul",
    "Lisbon": "Europe/Lisbon",
    "London": "Europe/London",
    "Los Angeles": "America/Los_Angeles",
    "Madrid": "Europe/Madrid",
    "Melbourne": "Australia/Melbourne",
    "Mexico City": "America/Mexico_City",
    "Miami": "America/New_York",
    "Milan": "Europe/Rome",
    "Moscow": "Europe/Moscow",
    "Mumbai": "Asia/Kolkata",
    "Nairobi": "Africa/Nairobi",
    "New York": "America/New_York",
    "Oslo": "Europe/Oslo",
    "Paris": "Europe/Paris",
    "Prague": "Europe/Prague",
    "Rome": "Europe/Rome",
    "San Francisco": "America/Los_Angeles",
    "Seattle": "America/Los_Angeles",
    "Seoul": "Asia/Seoul",
    "Shanghai": "Asia/Shanghai",
    "Singapore": "Asia/Singapore",
    "Stockholm": "Europe/Stockholm",
    "Sydney": "Australia/Sydney",
    "Tokyo": "Asia/Tokyo",
    "Toronto": "America/Toronto",
    "Vienna": "Europe/Vienna",
    "Warsaw": "Europe/Warsaw",
    "Zurich": "Europe/Zurich",
}


def calculate_output(result: float) -> str:
    """Return the result text of `calculate`."""
    return compact(result=result)


def time_output(hour: int, minute: int) -> str:
    """Return the result text of `get_time`; 24 hours."""
    return compact(time=f"{hour:02d}:{minute:02d}")


def date_output(day: date) -> str:
    """Return the result text of `get_date`."""
    return compact(weekday=WEEKDAYS[day.weekday()], day=day.day, month=MONTHS[day.month - 1])


def weather_output(condition: str, temperature: int) -> str:
    """Return the result text of `get_weather`; degrees Celsius."""
    return compact(condition=condition, temperature=temperature)


def timer_output() -> str:
    """Return the result text of `set_timer`."""
    return compact(ok=True)


def convert_output(value: float) -> str:
    """Return the result text of `convert_units`."""
    return compact(value=value)


def fake_time(seed: int, city: str | None) -> str:
    """Return an invented `get_time` result that depends on `seed` and `city` only."""
    rng = random.Random(f"time|{seed}|{city}")
    return time_output(rng.randrange(24), rng.randrange(60))


def fake_date(seed: int) -> str:
    """Return an invented `get_date` result that depends on `seed` only."""
    rng = random.Random(f"date|{seed}")
    return date_output(date(2025, 1, 1) + timedelta(days=rng.randrange(4 * 365)))


def fake_weather(seed: int, city: str) -> str:
    """Return an invented `get_weather` result that depends on `seed` and `city` only."""
    rng = random.Random(f"weather|{seed}|{city}")
    condition = rng.choice(tuple(CONDITIONS))
    return weather_output(condition, rng.randint(*CONDITIONS[condition]))


# Not strftime: its names follow the locale of the process.
WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
