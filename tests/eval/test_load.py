"""The load generator against a real server on loopback that has no models."""

import json

import numpy as np
import pytest

from server.admission.limits import ServerSettings
from step_audio.cli import main
from step_audio.core.config import load_profile
from step_audio.core.errors import InputError
from step_audio.eval.callers import RATE_HZ, CallPlan, trimmed
from step_audio.eval.load import run, spoken_by, spread_ms
from step_audio.runtime import Runtime
from tests.server.loopback import serving

QUESTION = (0.2 * np.sin(np.arange(RATE_HZ // 4) / 10)).astype(np.float32)


@pytest.fixture(scope="module")
def scripted() -> Runtime:
    return Runtime(load_profile("scripted", {}))


@pytest.mark.parametrize("manual", [True, False])
async def test_callers_are_answered_and_timed(scripted: Runtime, manual: bool) -> None:
    with serving(scripted.services(), scripted.settings()) as port:
        plan = CallPlan(f"ws://127.0.0.1:{port}/v1/realtime", 2, [QUESTION], manual=manual)
        figures = (await run(plan, 2, stagger_s=0.1)).to_dict()
    assert (figures["questions"], figures["answered"]) == (4, 4)
    assert figures["statuses"] == {"completed": 4}
    assert figures["errors"] == {}
    assert figures["sound_s"] == pytest.approx(4 * 20 * 0.12, abs=0.1)
    assert (figures["endpoint_delay_ms"] is None) == manual
    assert figures["first_audio_ms"]["p50"] < 10_000
    assert figures["caller_lag_ms"]["max"] >= figures["caller_lag_ms"]["p50"] >= 0


async def test_callers_who_ask_together_ask_in_the_same_instant(scripted: Runtime) -> None:
    with serving(scripted.services(), scripted.settings()) as port:
        plan = CallPlan(f"ws://127.0.0.1:{port}/v1/realtime", 3, [QUESTION], manual=True)
        made = await run(plan, 3, together=True)
    assert [len(call.heard) for call in made.calls] == [3, 3, 3]
    assert made.to_dict()["answered"] == 9
    for asked_s in zip(*(call.asked_s for call in made.calls), strict=True):
        assert max(asked_s) - min(asked_s) < 1.0
    assert plan.together is None


async def test_who_asks_together_goes_on_when_another_has_left(scripted: Runtime) -> None:
    settings = ServerSettings(max_sessions=1)
    with serving(scripted.services(), scripted.settings(), settings) as port:
        plan = CallPlan(
            f"ws://127.0.0.1:{port}/v1/realtime", 2, [QUESTION], manual=True, patience_s=3.0
        )
        figures = (await run(plan, 2, together=True)).to_dict()
    assert (figures["refused"], figures["answered"]) == (1, 2)


async def test_who_is_refused_is_counted(scripted: Runtime) -> None:
    settings = ServerSettings(max_sessions=1)
    with serving(scripted.services(), scripted.settings(), settings) as port:
        plan = CallPlan(f"ws://127.0.0.1:{port}/v1/realtime", 1, [QUESTION], manual=True)
        figures = (await run(plan, 2, stagger_s=0.1)).to_dict()
    assert (figures["refused"], figures["answered"]) == (1, 1)


async def test_nobody_there_is_an_error_in_the_report() -> None:
    plan = CallPlan("ws://127.0.0.1:9/v1/realtime", 1, [QUESTION])
    figures = (await run(plan, 1)).to_dict()
    assert figures["answered"] == 0
    assert sum(figures["errors"].values()) == 1


async def test_the_server_speaks_the_questions(scripted: Runtime) -> None:
    with serving(scripted.services(), scripted.settings()) as port:
        spoken = await spoken_by(f"ws://127.0.0.1:{port}/v1/realtime", ["Hello."], None)
    assert len(spoken) == 1
    assert len(spoken[0]) > RATE_HZ
    with pytest.raises(InputError, match="step-audio serve"):
        await spoken_by("ws://127.0.0.1:9/v1/realtime", ["Hello."], None)


def test_the_command_prints_one_json_object(
    scripted: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(scripted.services(), scripted.settings()) as port:
        url = f"ws://127.0.0.1:{port}/v1/realtime"
        assert main(["load", "--url", url, "--turns", "1", "--push-to-talk"]) == 0
    assert json.loads(capsys.readouterr().out)["answered"] == 1


def test_an_address_that_is_no_websocket_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["load", "--url", "http://127.0.0.1:9"]) == 2
    assert "ws://" in capsys.readouterr().err


def test_quiet_before_and_after_is_cut_off() -> None:
    sound = np.concatenate([np.zeros(100), [0.5, 0.0, -0.5], np.full(50, 1e-4)])
    assert trimmed(sound.astype(np.float32)).tolist() == [0.5, 0.0, -0.5]
    assert not len(trimmed(np.zeros(10, np.float32)))


def test_percentiles_leave_out_what_did_not_happen() -> None:
    assert spread_ms([None, None]) is None
    figures = spread_ms([None, 0.1, 0.2, 0.3])
    assert figures is not None
    assert (figures["p50"], figures["max"]) == (200.0, 300.0)
