import json
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_audio.core.errors import ToolError
from step_audio.core.ports import ToolBox
from step_audio.core.types import ToolCall
from step_audio.nano.tools import results
from step_audio.nano.tools.specs import SPECS
from step_audio.nano.tools.toolbox import FakeTools, NanoTools
from step_audio.tools import parse_arguments
from step_audio.tools.weather import WeatherNow

NOON_S = 1_763_726_400.0  # 2025-11-21 12:00 UTC, a Friday


class StillClock:
    def now_s(self) -> float:
        return NOON_S


def real() -> NanoTools:
    return NanoTools(None, StillClock(), home=UTC)


async def answer(tools: ToolBox, name: str, arguments: str) -> str:
    result = await tools.call(ToolCall("c1", name, arguments))
    assert (result.call_id, result.name) == ("c1", name)
    return result.output


@pytest.mark.parametrize(
    ("name", "arguments", "output"),
    [
        ("calculate", '{"expression":"12+30"}', '{"result":42}'),
        ("calculate", '{"expression": " (2 + 3) * -4 "}', '{"result":-20}'),
        ("calculate", '{"expression":"7/2"}', '{"result":3.5}'),
        ("get_time", "{}", '{"time":"12:00"}'),
        ("get_time", '{"city":"Tokyo"}', '{"time":"21:00"}'),
        ("get_time", '{"city":"Delhi"}', '{"time":"17:30"}'),
        ("get_date", "{}", '{"weekday":"Friday","day":21,"month":"November"}'),
        ("get_weather", '{"city":"London"}', '{"error":"unavailable"}'),
        ("set_timer", '{"seconds":90}', '{"ok":true}'),
        ("convert_units", '{"value":5,"from":"km","to":"miles"}', '{"value":3.1}'),
        ("convert_units", '{"value":100,"from":"celsius","to":"fahrenheit"}', '{"value":212}'),
        ("convert_units", '{"value":0,"from":"fahrenheit","to":"celsius"}', '{"value":-17.8}'),
        ("convert_units", '{"value":10,"from":"gallons","to":"liters"}', '{"value":37.9}'),
    ],
)
async def test_tools_answer_in_the_trained_layout(name: str, arguments: str, output: str) -> None:
    assert await answer(real(), name, arguments) == output


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("rm", "{}"),
        ("calculate", "{}"),
        ("calculate", "[]"),
        ("calculate", "12+30"),
        ("calculate", ""),
        ("calculate", '{"expression":12}'),
        ("calculate", '{"expression":""}'),
        ("calculate", '{"expression":"__import__(1)"}'),
        ("calculate", '{"expression":"9**9**9"}'),
        ("calculate", '{"expression":"1/0"}'),
        ("calculate", '{"expression":"1+"}'),
        ("calculate", '{"expression":"(1"}'),
        ("calculate", '{"expression":"1)"}'),
        ("calculate", '{"expression":"1 2"}'),
        ("calculate", '{"expression":"٣+٤"}'),
        ("calculate", '{"expression":"999999999*999999999*999999999"}'),
        ("calculate", json.dumps({"expression": "(" * 60 + "1"})),
        ("calculate", json.dumps({"expression": "1+" * 100 + "1"})),
        ("calculate", '{"expression":"1","expression":"2"}'),
        ("calculate", '{"expression":"1","x":2}'),
        ("calculate", "[" * 900),
        ("calculate", '{"expression":"' + "1" * 2000 + '"}'),
        ("get_time", '{"city":"Atlantis"}'),
        ("get_time", '{"city":"../../etc/passwd"}'),
        ("get_time", '{"city":null}'),
        ("get_date", '{"day":1}'),
        ("get_weather", "{}"),
        ("set_timer", '{"seconds":0}'),
        ("set_timer", '{"seconds":216001}'),
        ("set_timer", '{"seconds":1.5}'),
        ("set_timer", '{"seconds":true}'),
        ("set_timer", '{"seconds":"90"}'),
        ("convert_units", '{"value":NaN,"from":"km","to":"miles"}'),
        ("convert_units", '{"value":1e999,"from":"km","to":"miles"}'),
        ("convert_units", '{"value":1,"from":"km","to":"pounds"}'),
        ("convert_units", '{"value":1,"from":"km","to":"km"}'),
        ("convert_units", '{"value":1,"from":"parsec","to":"km"}'),
    ],
)
async def test_hostile_calls_are_refused_with_a_tool_error(name: str, arguments: str) -> None:
    with pytest.raises(ToolError) as refused:
        await answer(FakeTools(1), name, arguments)
    assert 5 < len(str(refused.value)) < 800


@given(name=st.sampled_from(sorted(SPECS)), text=st.text(max_size=60))
def test_any_text_gives_arguments_or_a_tool_error(name: str, text: str) -> None:
    try:
        values = parse_arguments(SPECS[name], text)
    except ToolError:
        return
    assert set(values) <= set(SPECS[name].parameters["properties"])


@given(text=st.text(alphabet="0123456789+-*/(). ", max_size=70))
async def test_any_arithmetic_gives_a_bounded_number_or_a_tool_error(text: str) -> None:
    try:
        output = await answer(FakeTools(0), "calculate", json.dumps({"expression": text}))
    except ToolError:
        return
    assert abs(json.loads(output)["result"]) <= 10**12


async def test_fakes_depend_on_seed_and_arguments_only() -> None:
    london = '{"city":"London"}'
    first, second = FakeTools(7), FakeTools(7)
    await answer(second, "get_weather", '{"city":"Paris"}')
    assert await answer(first, "get_weather", london) == await answer(second, "get_weather", london)
    seeds = {await answer(FakeTools(seed), "get_weather", london) for seed in range(20)}
    assert len(seeds) > 10
    cities = {
        await answer(first, "get_time", json.dumps({"city": city})) for city in results.CITY_ZONES
    }
    assert len(cities) > 35
    weather = json.loads(await answer(first, "get_weather", london))
    assert list(weather) == ["condition", "temperature"]
    low, high = results.CONDITIONS[weather["condition"]]
    assert low <= weather["temperature"] <= high


def test_every_city_has_a_zone() -> None:
    assert len(results.CITY_ZONES) == 43
    for zone in results.CITY_ZONES.values():
        assert ZoneInfo(zone).key == zone


def test_specs_are_plain_json_schemas_of_required_known_keys() -> None:
    names = [spec.name for spec in real().specs()]
    assert names == list(SPECS)
    assert names == [
        *("calculate", "get_time", "get_date", "get_weather", "set_timer", "convert_units")
    ]
    for spec in real().specs():
        schema = json.loads(json.dumps(spec.parameters))
        assert schema == spec.parameters
        assert schema["type"] == "object"
        assert schema["additionalProperties"] is False
        assert set(schema["required"]) <= set(schema["properties"])
        assert spec.description.endswith(".")


async def test_a_timer_says_when_it_is_to_be_announced() -> None:
    result = await real().call(ToolCall("c", "set_timer", '{"seconds":90}'))
    assert (result.after_s, result.announcement) == (90.0, results.TIMER_OVER)
    assert (await real().call(ToolCall("c", "get_date", "{}"))).after_s is None


@pytest.mark.parametrize(
    ("words", "trained"),
    [
        ("Light rain shower", "rainy"),
        ("Sunny", "sunny"),
        ("Overcast", "cloudy"),
        ("Thunderstorm", "stormy"),
        ("Frogs", "frogs"),
    ],
)
async def test_the_providers_weather_is_told_in_trained_words(words: str, trained: str) -> None:
    class Provider:
        async def at(self, city: str) -> WeatherNow:
            return WeatherNow(words, 19.6)

    tools = NanoTools(None, StillClock(), home=UTC, weather=Provider())
    shown = await answer(tools, "get_weather", '{"city":"London"}')
    assert shown == f'{{"condition":"{trained}","temperature":20}}'
