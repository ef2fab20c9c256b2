"""How long a session lasts: idle, in all, and what is said before."""

import asyncio
import json
from dataclasses import replace

import pytest
from starlette.websockets import WebSocketDisconnect

from server.admission.limits import ServerSettings
from server.realtime.connection.expiry import Due, Expiry, ExpiryLimits
from server.realtime.session.dispatch import RealtimeSession
from server.realtime.session.send_queue import SendQueue
from step_audio.dialog.assistant import Assistant
from tests.fakes import ScriptedEngine, services
from tests.server.conftest import Connect
from tests.server.wire import SECOND, talking
from tokenizer.vad import EnergyTurnDetector

LIMITS = ExpiryLimits(idle_s=100, session_s=1000, warning_s=30, grace_s=20)


def test_idleness_is_warned_of_once_and_then_ended() -> None:
    life = Expiry(LIMITS, 0.0)
    assert life.look(69, response_task=False) is None
    assert life.look(70, response_task=False) == (Due.WARNING, "idle", 30.0)
    assert life.look(80, response_task=False) is None
    assert life.look(100, response_task=False) == (Due.END, "idle", 0.0)


def test_what_happens_begins_the_idle_time_anew_with_its_warning() -> None:
    life = Expiry(LIMITS, 0.0)
    life.look(70, response_task=False)
    life.touch(75)
    assert life.look(100, response_task=False) is None
    assert life.look(145, response_task=False) == (Due.WARNING, "idle", 30.0)


def test_the_longest_session_ends_whatever_happens_but_not_amid_a_word() -> None:
    life = Expiry(LIMITS, 0.0)
    life.touch(969)
    assert life.look(970, response_task=True) == (Due.WARNING, "duration", 30.0)
    life.touch(1000)
    assert life.look(1010, response_task=True) is None
    assert life.look(1010, response_task=False) == (Due.END, "duration", 0.0)
    assert life.look(1020, response_task=True) == (Due.END, "duration", 0.0)


def test_an_idle_session_is_told_why_and_closed(connect: Connect) -> None:
    client = connect(settings=ServerSettings(idle_timeout_s=0.05))
    with talking(client) as talk:
        event = talk.next()
        with pytest.raises(WebSocketDisconnect) as closed:
            talk.next()
    assert event["error"]["code"] == "session_expired"
    assert "idle" in event["error"]["message"]
    assert closed.value.code == 1008


def test_silence_that_streams_in_is_idle_all_the_same(connect: Connect) -> None:
    client = connect(settings=ServerSettings(idle_timeout_s=0.3), detector=EnergyTurnDetector())
    with talking(client) as talk:
        talk.hear(1.0)
        assert talk.next()["error"]["code"] == "session_expired"


def test_a_question_that_its_client_never_ends_is_idle_once_no_sound_comes(
    connect: Connect,
) -> None:
    with talking(connect(settings=ServerSettings(idle_timeout_s=0.3))) as talk:
        talk.hear(0.1)
        assert talk.next()["error"]["code"] == "session_expired"


@pytest.mark.parametrize(("detector", "counted"), [(None, 1), (EnergyTurnDetector(), 0)])
async def test_sound_is_a_sign_of_life_where_the_client_says_when_it_is_a_turn(
    detector: EnergyTurnDetector | None, counted: int
) -> None:
    parts = replace(services(ScriptedEngine([()])), turn_detector=detector)
    assistant = Assistant(parts)
    async with asyncio.TaskGroup() as tasks:
        session = RealtimeSession(assistant, SendQueue(), tasks)
        await session.handle(json.dumps({"type": "input_audio_buffer.append", "audio": SECOND}))
        assert session.commands == counted
        await session.close()
    await assistant.aclose()


def test_a_session_ends_at_its_longest_and_says_when_at_its_start(connect: Connect) -> None:
    settings = ServerSettings(session_timeout_s=0.3, drain_s=0)
    with connect(settings=settings).websocket_connect("ws://localhost/v1/realtime") as socket:
        created = socket.receive_json()
        assert isinstance(created["session"]["expires_at"], int)
        event = socket.receive_json()
        assert event["error"]["code"] == "session_expired"
        assert "longest" in event["error"]["message"]


@pytest.mark.parametrize("asked", [False, True])
def test_those_who_ask_are_warned_before(connect: Connect, asked: bool) -> None:
    settings = ServerSettings(idle_timeout_s=0.4, warning_s=0.2)
    with talking(connect(settings=settings)) as talk:
        if asked:
            talk.send("session.update", session={"include": ["session.expiring"]})
            assert talk.next()["type"] == "session.updated"
            warning = talk.next()
            assert warning["type"] == "session.expiring"
            assert warning["reason"] == "idle"
            assert 0 <= warning["expires_in_s"] <= 0.2
        assert talk.next()["error"]["code"] == "session_expired"
