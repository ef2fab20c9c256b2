"""Sockets that drop, servers that leave: nothing lost, nothing doubled. Real sockets."""

import json
import os
import signal
import socket as sockets
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from server.admission.limits import ServerSettings
from step_audio.core.errors import EngineError
from tests.fakes import FixedClock, ScriptedEngine, services
from tests.server.dial import ANSWER, SECOND, WHOLE, ask, dial, drop, of, sound, until
from tests.server.loopback import serving


@pytest.mark.parametrize("heard", [1, 7, 30])
def test_a_dropped_socket_resumes_with_nothing_lost_and_nothing_doubled(heard: int) -> None:
    with serving(services(ScriptedEngine([ANSWER]))) as port:
        first = dial(port, "step-audio-resume")
        opening = until(first, of("session.resumable"))
        ask(first)
        events = [*opening, *until(first, of("response.created"))]
        events += [json.loads(first.recv(10)) for _ in range(heard)]
        drop(first)
        token = opening[-1]["token"]
        with dial(port, f"step-audio-resume.{token}.{events[-1]['event_id']}") as second:
            resumed, *rest = until(second, of("response.done"))
            assert resumed["type"] == "session.resumed"
            assert resumed["received"] == 3
            events += rest
            assert len({event["event_id"] for event in events}) == len(events)
            assert sound(events) == WHOLE
            assert [e["type"] for e in events].count("response.done") == 1
            assert events[-1]["response"]["status"] == "completed"
            answer = events[-1]["response"]["output"][0]["id"]
            second.send(json.dumps({"type": "conversation.item.retrieve", "item_id": answer}))
            until(second, of("conversation.item.retrieved"))


def test_a_second_drop_is_survived_as_the_first() -> None:
    with serving(services(ScriptedEngine([ANSWER]))) as port:
        talk = dial(port, "step-audio-resume")
        events = until(talk, of("session.resumable"))
        token = events[-1]["token"]
        ask(talk)
        for _ in range(3):
            events += [json.loads(talk.recv(10)) for _ in range(8)]
            drop(talk)
            talk = dial(port, f"step-audio-resume.{token}.{events[-1]['event_id']}")
            assert json.loads(talk.recv(10))["type"] == "session.resumed"
        events += until(talk, of("response.done"))
        assert sound(events) == WHOLE
        talk.close()


def test_a_session_that_did_not_ask_ends_with_its_socket() -> None:
    with serving(services(ScriptedEngine([ANSWER])), None, ServerSettings(max_sessions=1)) as port:
        first = dial(port)
        assert json.loads(first.recv(10))["type"] == "session.created"
        drop(first)
        _dial_until_admitted(port).close()


def test_a_session_waits_for_its_window_and_no_longer() -> None:
    limits = ServerSettings(max_sessions=1, resume_window_s=0.3)
    with serving(services(ScriptedEngine([ANSWER])), None, limits) as port:
        first = dial(port, "step-audio-resume")
        opening = until(first, of("session.resumable"))
        drop(first)
        assert _refusal(port, f"step-audio-resume.{opening[-1]['token']}.x", after_s=2.0) == 404


def test_a_dropped_session_keeps_its_state_and_not_its_place() -> None:
    """B14: telephones that left the network shut others out for the whole window."""
    with serving(services(ScriptedEngine([ANSWER])), None, ServerSettings(max_sessions=1)) as port:
        first = dial(port, "step-audio-resume")
        opening = until(first, of("session.resumable"))
        ask(first)
        until(first, of("response.done"))
        drop(first)
        again = f"step-audio-resume.{opening[-1]['token']}.{opening[-1]['event_id']}"
        with _dial_until_admitted(port) as second:
            until(second, of("session.created"))
            with pytest.raises(InvalidStatus) as full:
                dial(port, again)
            assert full.value.response.status_code == 503
            assert json.loads(full.value.response.body)["error"]["code"] == "overloaded"
        with _dial_until_admitted(port, again) as back:
            events = until(back, of("response.done"))
            assert events[0]["type"] == "session.resumed"
            assert sound(events) == WHOLE


def test_sessions_that_wait_for_their_clients_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.realtime.connection.registry.MAX_ABSENT", 2)
    with serving(services(ScriptedEngine([ANSWER])), None, ServerSettings(max_sessions=1)) as port:
        tokens = []
        for _ in range(4):
            with _dial_until_admitted(port, "step-audio-resume") as talk:
                tokens.append(until(talk, of("session.resumable"))[-1]["token"])
                drop(talk)
        _dial_until_admitted(port).close()  # two more begin than may wait: the oldest end
        found = [_refusal(port, f"step-audio-resume.{token}.x") for token in tokens]
        assert found == [404, 404, 404, None]


def _refusal(port: int, protocol: str, after_s: float = 0.0) -> int | None:
    """Return the status that a socket is refused with, None when it is let in."""
    time.sleep(after_s)
    try:
        dial(port, protocol).close()
    except InvalidStatus as refused:
        return refused.response.status_code
    return None


def _dial_until_admitted(port: int, *protocols: str) -> ClientConnection:
    """Connect as soon as the server has noticed that the others are gone."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return dial(port, *protocols)
        except InvalidStatus:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_wrong_token_and_an_unknown_event_are_refused() -> None:
    with serving(services(ScriptedEngine([ANSWER]))) as port:
        with pytest.raises(InvalidStatus) as unknown:
            dial(port, "step-audio-resume.guess.event_1")
        assert unknown.value.response.status_code == 404
        with dial(port, "step-audio-resume") as talk:
            token = until(talk, of("session.resumable"))[-1]["token"]
            with dial(port, f"step-audio-resume.{token}.event_0") as other:
                with pytest.raises(ConnectionClosed) as closed:
                    other.recv(10)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1008


def test_an_engine_killed_mid_sentence_fails_its_answer_and_not_the_session() -> None:
    engine = ScriptedEngine([ANSWER[:100]], error=EngineError("the engine died"))
    with serving(services(engine)) as port, dial(port) as talk, dial(port) as neighbour:
        ask(talk)
        failed = until(talk, of("response.done"))[-1]["response"]
        assert failed["status"] == "failed"
        assert failed["status_details"]["error"]["code"] == "engine_failed"
        engine.error = None
        for client in (talk, neighbour):
            ask(client)
            assert until(client, of("response.done"))[-1]["response"]["status"] == "completed"


def test_sigterm_lets_the_answer_end_and_nobody_new_in(tmp_path: Any) -> None:
    with sockets.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    pace = {"STEP_AUDIO__ENGINE__TOKENS_PER_S": "100", "STEP_AUDIO__ENGINE__GROUPS": "20"}
    command = [sys.executable, "-m", "step_audio", "serve", "--profile", "scripted"]
    with (tmp_path / "log").open("wb") as log_file:
        server = subprocess.Popen(
            [*command, "--port", str(port)], env={**os.environ, **pace}, stderr=log_file
        )
    base = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 30
        while not _is_ready(f"{base}/readyz"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with dial(port) as talk:
            ask(talk)
            events = until(talk, of("response.output_audio.delta"))
            server.send_signal(signal.SIGTERM)
            while _is_ready(f"{base}/readyz"):
                time.sleep(0.02)
            assert httpx.get(f"{base}/readyz").json() == {"status": "draining"}
            with pytest.raises(InvalidStatus) as refused:
                dial(port)
            assert refused.value.response.status_code == 503
            events += until(talk, of("response.done"))
            assert events[-1]["response"]["status"] == "completed"
            assert sound(events) == 2 * 2880 * 20
            with pytest.raises(ConnectionClosed) as closed:
                talk.recv(10)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        server.wait(20)
        log = (tmp_path / "log").read_text()
        assert SECOND[:64] not in log  # no sound in logs
        assert "Traceback" not in log
    finally:
        server.kill()
        server.wait(10)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("jump_s", [1e6, -1e6])
def test_a_clock_that_jumps_breaks_no_session(jump_s: float) -> None:
    clock = FixedClock()
    parts = replace(services(ScriptedEngine([ANSWER])), clock=clock)
    with serving(parts) as port, dial(port) as talk:
        for _ in range(2):
            ask(talk)
            until(talk, of("response.output_audio.delta"))
            clock.now += jump_s
            done = until(talk, of("response.done"))[-1]["response"]
            assert done["status"] == "completed"
