import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from step_audio.core.errors import ToolError
from step_audio.tools.weather import MAX_BYTES, HttpWeather, WeatherNow
from tests.tools.loopback import serving

ANSWERS: dict[str, Any] = {
    "London": {"condition": "Light rain shower", "temperature": 11.6},
    "New York": {"condition": "Sunny", "temperature": "21"},
    "Oslo": {"condition": "Frogs", "temperature": -3},
    "Paris": {"condition": 5, "temperature": 1},
    "Rome": {"condition": "Sunny", "temperature": "warm"},
    "Lima": {"condition": "Sunny", "temperature": "inf"},
    "Cairo": {"condition": "Sunny"},
    "Delhi": [1],
}


async def weather(request: Request) -> Response:
    city = request.query_params["city"]
    if city == "Athens":
        await asyncio.sleep(30)
    if city == "Berlin":
        return PlainTextResponse("sunny")
    if city == "Milan":
        return PlainTextResponse("x" * (MAX_BYTES + 1))
    if city not in ANSWERS:
        return JSONResponse({}, 404)
    return JSONResponse(ANSWERS[city])


async def deep(request: Request) -> Response:
    return JSONResponse({"now": [{"sky": [{"value": "Overcast"}], "temp_C": "7"}]})


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    with serving(Starlette(routes=[Route("/w", weather), Route("/deep/{city}", deep)])) as url:
        yield url


@pytest.mark.parametrize(
    ("city", "shown"),
    [
        ("London", WeatherNow("Light rain shower", 11.6)),
        ("New York", WeatherNow("Sunny", 21)),
        ("Oslo", WeatherNow("Frogs", -3)),
    ],
)
async def test_the_provider_is_asked(provider: str, city: str, shown: WeatherNow) -> None:
    assert await HttpWeather(provider + "/w?city={city}").at(city) == shown


async def test_paths_say_where_the_values_stand(provider: str) -> None:
    there = HttpWeather(provider + "/deep/{city}", "now.0.sky.0.value", "now.0.temp_C")
    assert await there.at("Rome") == WeatherNow("Overcast", 7)


@pytest.mark.parametrize(
    ("city", "said"),
    [
        ("Tokyo", "404"),
        ("Paris", "no text"),
        ("Rome", "no number"),
        ("Lima", "no number"),
        ("Cairo", "no temperature"),
        ("Delhi", "no condition"),
        ("Berlin", "not JSON"),
        ("Milan", "too long"),
        ("Athens", "ReadTimeout"),
    ],
)
async def test_what_goes_wrong_is_a_tool_error(provider: str, city: str, said: str) -> None:
    with pytest.raises(ToolError, match=said):
        await HttpWeather(provider + "/w?city={city}", timeout_s=1.0).at(city)


async def test_no_provider_at_the_address_is_a_tool_error() -> None:
    with pytest.raises(ToolError, match="ConnectError"):
        await HttpWeather("http://127.0.0.1:9/{city}").at("London")


@pytest.mark.parametrize("city", ["../admin", "a/b", "x?y=1", "", "-", "Rome\n", "http://a"])
async def test_what_is_no_name_of_a_place_never_reaches_the_provider(city: str) -> None:
    with pytest.raises(ToolError, match="no name of a place"):
        await HttpWeather("http://127.0.0.1:9/{city}").at(city)


@pytest.mark.parametrize("city", ["St. Louis", "Rio de Janeiro", "Xi'an", "Baden-Baden", "Zürich"])
async def test_places_are_asked_for_by_any_name(city: str) -> None:
    with pytest.raises(ToolError, match="ConnectError"):
        await HttpWeather("http://127.0.0.1:9/{city}").at(city)
