"""The built-in tools of models that are told their tools."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest

from step_audio.core.errors import ToolError
from step_audio.core.types import ToolCall
from step_audio.tools.clock import zone_of
from step_audio.tools.general import GeneralTools
from step_audio.tools.weather import WeatherNow

NOON_S = 1_763_726_400.0  # 2025-11-21 12:00 UTC, a Friday


class StillClock:
    def now_s(self) -> float:
        return NOON_S


class Drizzle:
    async def at(self, city: str) -> WeatherNow:
        return WeatherNow("Light drizzle", 11.6)


def tools(**given: Any) -> GeneralTools:
    return GeneralTools(StillClock(), ZoneInfo("UTC"), **given)


async def answer(name: str, arguments: str, box: GeneralTools | None = None) -> Any:
    result = await (box or tools()).call(ToolCall("c1", name, arguments))
    assert (result.call_id, result.name) == ("c1", name)
    return json.loads(result.output)


@pytest.mark.parametrize(
    ("arguments", "time", "offset"),
    [
        ("{}", "12:00", "+00:00"),
        ('{"timezone": "Asia/Kathmandu"}', "17:45", "+05:45"),
        ('{"timezone": "america/st_johns"}', "08:30", "-03:30"),
        ('{"timezone": "New York"}', "07:00", "-05:00"),
        ('{"timezone": "Japan"}', "21:00", "+09:00"),
    ],
)
async def test_the_clock_knows_zones_by_name_and_city(
    arguments: str, time: str, offset: str
) -> None:
    told = await answer("get_current_time", arguments)
    assert (told["time"], told["utc_offset"]) == (time, offset)
    assert (told["date"], told["weekday"]) == ("2025-11-21", "Friday")


def test_every_zone_of_the_database_is_known() -> None:
    names = available_timezones()
    assert len(names) > 400
    assert {zone_of(name).key for name in names} == names


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/localtime", "GMT+5", "Atlantis", " "])
async def test_what_is_no_zone_is_said(name: str) -> None:
    with pytest.raises(ToolError, match="unknown time zone"):
        await answer("get_current_time", json.dumps({"timezone": name}))


def test_zones_come_with_the_package_where_the_system_has_none() -> None:
    code = (
        "import zoneinfo; zoneinfo.reset_tzpath(to=[])\n"
        "from step_audio.tools.clock import zone_of; print(zone_of('Tokyo'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "Asia/Tokyo"


async def test_calculator_and_units_answer_as_json() -> None:
    assert await answer("calculate", '{"expression": "6 * 7"}') == {"result": 42}
    arguments = '{"value": 10, "from": "gallons", "to": "liters"}'
    assert await answer("convert_units", arguments) == {"value": 37.85412, "unit": "liters"}


async def test_a_timer_says_what_the_model_chose() -> None:
    call = ToolCall("c", "set_timer", '{"seconds": 90, "message": "面好了"}')
    result = await tools().call(call)
    assert (result.after_s, result.announcement) == (90.0, "面好了")
    result = await tools().call(ToolCall("c", "set_timer", '{"seconds": 5}'))
    assert (result.after_s, result.announcement) == (5.0, "Your timer is over.")


async def test_the_weather_is_a_tool_only_where_there_is_a_provider() -> None:
    assert "get_weather" not in {spec.name for spec in tools().specs()}
    with pytest.raises(ToolError, match="unknown tool"):
        await answer("get_weather", '{"city": "Oslo"}')
    box = tools(weather=Drizzle())
    assert await answer("get_weather", '{"city": "Oslo"}', box) == {
        "condition": "Light drizzle",
        "celsius": 12,
    }


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("rm", "{}"),
        ("calculate", "{}"),
        ("calculate", '{"expression": 5}'),
        ("calculate", '{"expression": "9**9**9"}'),
        ("convert_units", '{"value": 1e999, "from": "m", "to": "km"}'),
        ("convert_units", '{"value": true, "from": "m", "to": "km"}'),
        ("set_timer", '{"seconds": 0}'),
        ("set_timer", '{"seconds": 1, "message": ""}'),
        ("get_current_time", '{"city": "Paris"}'),
        ("get_current_time", "[" * 2000),
    ],
)
async def test_what_does_not_fit_is_a_tool_error(name: str, arguments: str) -> None:
    with pytest.raises(ToolError):
        await answer(name, arguments)


def test_the_libraries_are_not_loaded_before_they_are_used() -> None:
    code = "import sys, step_audio.tools.general; print('pint' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
