"""The clock of the day, in any zone of the tz database."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from step_audio.core.errors import ToolError
from step_audio.core.ports import Clock
from step_audio.core.toolformat import compact

# Not strftime: its names follow the locale of the process.
_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class WallClock:
    """The machine's clock of the day."""

    def now_s(self) -> float:
        """Return seconds since 1970 UTC."""
        return time.time()


def zone_of(name: str) -> ZoneInfo:
    """Return the zone that a name means.

    Args:
        name: of the tz database (`Europe/Paris`, `Japan`, `UTC`), or the city in such a name
            (`Paris`, `new york`); upper and lower case do not matter.

    Raises:
        ToolError: no such zone.
    """
    key = _zones().get(name.strip().casefold().replace(" ", "_"))
    if key is None:
        raise ToolError(
            f"unknown time zone {name[:40]!r}; give a name of the tz database, such as"
            " Europe/Paris: that of the zone which the place lies in"
        )
    return ZoneInfo(key)


def time_output(clock: Clock, zone: ZoneInfo | None) -> str:
    """Return date, time and zone as JSON text; None: this machine's zone."""
    now = datetime.fromtimestamp(clock.now_s(), UTC).astimezone(zone)
    return compact(
        date=now.date().isoformat(),
        weekday=_WEEKDAYS[now.weekday()],
        time=now.strftime("%H:%M"),
        timezone=zone.key if zone else now.tzname(),
        utc_offset=now.isoformat()[-6:],
    )


@cache
def _zones() -> dict[str, str]:
    """Return the zones by their names in lower case, and by their cities where those are no zone.

    The system's database, else that of the package tzdata.
    """
    names = sorted(available_timezones())
    # Etc/GMT+5 lies west of Greenwich: what is called GMT+5 elsewhere is its opposite.
    places = [name for name in reversed(names) if not name.startswith("Etc/")]
    cities = {name.rpartition("/")[2].casefold(): name for name in places}
    return cities | {name.casefold(): name for name in names}
