"""Who gets a session: origins, keys, full servers, floods."""

import time
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from server.admission.limits import ServerSettings
from server.admission.pace import PaceLimits
from server.app import create_app
from server.observability.metrics import Metrics
from step_audio.core.keys import Keyring
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.layout import interleave
from tests.fakes import VOCAB, ScriptedEngine, group, services, text_ids
from tests.server.conftest import Connect
from tests.server.wire import URL, Talk, slow_line, sound, talking

HEARD = [6, *text_ids("what time is it"), 7]
ANSWER = [*HEARD, *interleave(text_ids("It is noon."), [group(n) for n in range(4)], VOCAB)]
LONGER = interleave(text_ids("It is noon."), [group(n) for n in range(8)], VOCAB)


def refusal(client: TestClient, **options: Any) -> int:
    """Return the status with which an upgrade is refused."""
    try:
        with client.websocket_connect(URL, **options):
            return 101
    except WebSocketDenialResponse as denied:
        return denied.status_code


@pytest.mark.parametrize(
    ("origin", "let_in"),
    [
        (None, True),
        ("http://localhost", True),
        ("http://evil.example", False),
        ("null", False),
        ("http://localhost:9999", False),
        ("http://[", False),
    ],
)
def test_only_our_own_page_may_open_a_socket(
    connect: Connect, origin: str | None, let_in: bool
) -> None:
    headers = {} if origin is None else {"origin": origin}
    client = connect()
    if let_in:
        with client.websocket_connect(URL, headers=headers) as socket:
            assert socket.receive_json()["type"] == "session.created"
    else:
        assert refusal(client, headers=headers) == 403


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["openai-insecure-api-key.K"], "openai-insecure-api-key.K"),  # there is no other
        (["openai-insecure-api-key.K", "openai-beta.realtime-v1"], "openai-beta.realtime-v1"),
        (["openai-insecure-api-key.K", "step-audio-resume"], "step-audio-resume"),
        (["openai-insecure-api-key.K", "anything", "realtime"], "realtime"),
        ([], None),
    ],
)
@pytest.mark.parametrize("path", ["/v1/realtime", "/v1/realtime/audio"])
def test_a_browser_that_offers_subprotocols_gets_one_of_them(
    connect: Connect, offered: list[str], chosen: str | None, path: str
) -> None:
    url = f"ws://localhost{path}"
    with connect().websocket_connect(url, subprotocols=offered) as socket:
        assert (socket.accepted_subprotocol or None) == chosen


def test_a_key_may_come_as_a_subprotocol_that_is_never_echoed(connect: Connect) -> None:
    client = connect(settings=ServerSettings(keys=Keyring({}, "s3cret"), hosts=frozenset()))
    offered = ["realtime", "openai-insecure-api-key.s3cret"]
    with client.websocket_connect(URL, subprotocols=offered) as socket:
        assert str(socket.accepted_subprotocol) == "realtime"
    assert refusal(client, subprotocols=["realtime"]) == 401


def test_a_full_server_refuses_the_upgrade_until_somebody_leaves(connect: Connect) -> None:
    client = connect(settings=ServerSettings(max_sessions=1))
    with talking(client):
        assert refusal(client) == 503
    with talking(client):
        pass


def test_a_flood_is_slowed_then_sent_away_and_the_neighbour_is_served(connect: Connect) -> None:
    pace = PaceLimits(messages_per_s=1, messages_burst=10, patience_s=0.5)
    metrics = Metrics()
    client = connect([ANSWER], settings=ServerSettings(pace=pace), metrics=metrics)
    with talking(client) as neighbour:
        with talking(client) as flood:
            for _ in range(20):
                flood.send("input_audio_buffer.clear")
            said = flood.until("error")[-1]["error"]
            with pytest.raises(WebSocketDisconnect) as closed:
                flood.until("never")
        assert (said["type"], said["code"]) == ("invalid_request_error", "rate_limit_exceeded")
        assert closed.value.code == 1008
        neighbour.ask()
        neighbour.send("response.create")
        assert neighbour.until("response.done")[-1]["response"]["status"] == "completed"
    assert b'guard_stops_total{reason="flood"} 1.0' in metrics.text()


def test_a_machine_that_showed_itself_full_says_try_later(connect: Connect) -> None:
    metrics = Metrics()
    settings = ServerSettings(max_sessions=100, measured=True)
    client = connect([ANSWER], settings=settings, metrics=metrics)
    context = client.app.state.admission  # type: ignore[attr-defined]
    with talking(client):
        context.answered(0.9, dry=False, sessions=2, now_s=time.monotonic())
        assert refusal(client) == 503
        assert b"step_audio_session_limit 1.0" in metrics.text()
    assert refusal(client) == 101


def test_a_clients_slow_line_does_not_make_the_machine_look_full() -> None:
    settings = ServerSettings(max_sessions=100, measured=True)
    app = create_app(Assistant(services(ScriptedEngine([LONGER]))), settings)
    slow = slow_line(app, 0.15)  # for 120 ms of sound
    with TestClient(slow, base_url="http://localhost") as client, talking(client) as talk:
        talk.ask()
        talk.send("response.create")
        done = talk.until("response.done")[-1]["response"]
        assert done["status"] == "completed"
        talk.ask()  # what the last turn taught is known by now
        assert app.state.admission.allowed(1, time.monotonic()) == 100


def test_a_server_that_leaves_waits_for_what_a_slow_line_has_not_yet_carried() -> None:
    app = create_app(Assistant(services(ScriptedEngine([LONGER]))), ServerSettings())
    with (
        TestClient(slow_line(app, 0.05), base_url="http://localhost") as client,
        client.websocket_connect(URL) as socket,
    ):
        talk = Talk(socket)
        talk.next()
        talk.ask()
        talk.send("response.create")
        events = talk.until("response.output_audio.delta")
        app.state.drain.begin(lambda: None)
        events += talk.until("response.done")
        assert sound(events) == 8 * 960 * 3
        with pytest.raises(WebSocketDisconnect) as closed:
            talk.next()
        assert closed.value.code == 1012
