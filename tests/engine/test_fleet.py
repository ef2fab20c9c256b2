"""Who serves a request: least loaded, at home, not one that just failed."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from step_audio.core.errors import InputError
from step_audio.engine.fleet import Fleet
from tests.fakes import FixedClock


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def fleet(clock: FixedClock) -> Fleet:
    return Fleet(["a", "b", "c"], clock.now_s, slack=2, max_sessions=2)


def test_idle_addresses_take_turns(fleet: Fleet) -> None:
    first = []
    for _ in range(6):
        first.append(fleet.order()[0])
        with fleet.serving(first[-1]):
            pass
    assert first == ["a", "b", "c"] * 2


def test_the_least_loaded_comes_first(fleet: Fleet) -> None:
    with fleet.serving("a"), fleet.serving("a"), fleet.serving("b"):
        assert fleet.order() == ["c", "b", "a"]
    assert set(fleet.order()) == {"a", "b", "c"}


def test_a_session_goes_home_until_home_has_clearly_more_to_do(fleet: Fleet) -> None:
    fleet.worked("b", "s")
    assert fleet.order("s")[0] == "b"
    with ExitStack() as busy:
        for _ in range(2):
            busy.enter_context(fleet.serving("b"))
        assert fleet.order("s")[0] == "b"
        busy.enter_context(fleet.serving("b"))
        assert fleet.order("s")[0] != "b"
    assert fleet.order("s")[0] == "b"


def test_the_least_recently_served_session_is_forgotten(fleet: Fleet) -> None:
    for session in ("one", "two", "three"):
        fleet.worked("c", session)
    assert fleet.order("one")[0] == "a"
    assert fleet.order("three")[0] == "c"


def test_an_address_that_failed_rests_longer_each_time(fleet: Fleet, clock: FixedClock) -> None:
    fleet.worked("a", "s")
    for rest_s in (1, 2, 4, 8, 16, 30, 30):
        fleet.failed("a")
        assert fleet.order("s")[-1] == "a"
        clock.now += rest_s - 0.01
        assert fleet.order("s")[-1] == "a"
        clock.now += 0.02
        assert fleet.order("s")[0] == "a"
    fleet.worked("a")
    fleet.failed("a")
    clock.now += 1.01
    assert fleet.order("s")[0] == "a"


def test_when_all_rest_the_one_that_wakes_first_is_asked(fleet: Fleet, clock: FixedClock) -> None:
    for address in ("c", "a", "b"):
        fleet.failed(address)
        clock.now += 0.1
    assert fleet.order() == ["c", "a", "b"]


@pytest.mark.parametrize("addresses", [[], ["a", "a"]])
def test_a_fleet_has_addresses_each_once(addresses: list[str], clock: FixedClock) -> None:
    with pytest.raises(InputError):
        Fleet(addresses, clock.now_s)
