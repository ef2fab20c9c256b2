"""POST /v1/realtime/client_secrets and the sessions that its answers open."""

from __future__ import annotations

import json
from typing import Any, Final

import httpx
import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse
from websockets.sync.client import connect as dial
from websockets.typing import Subprotocol

from server.admission.client_secrets import ClientSecrets
from server.admission.limits import ServerSettings
from step_audio.core.errors import Overloaded
from step_audio.core.keys import Keyring
from tests.fakes import ScriptedEngine, services
from tests.server.conftest import Connect
from tests.server.dial import drop
from tests.server.loopback import serving

URL = "ws://localhost/v1/realtime"
KEY = "sa_a-long-lived-key"
RESUME: Final = Subprotocol("step-audio-resume")
BEARER = {"authorization": f"Bearer {KEY}"}


@pytest.fixture
def client(connect: Connect) -> TestClient:
    return connect(settings=ServerSettings(keys=Keyring({}, KEY)))


def make(client: TestClient, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/realtime/client_secrets", json=body, headers=BEARER)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def refused(client: TestClient, secret: str, *more: str) -> tuple[int, str]:
    offered = ["realtime", f"openai-insecure-api-key.{secret}", *more]
    with (
        pytest.raises(WebSocketDenialResponse) as caught,
        client.websocket_connect(URL, subprotocols=offered),
    ):
        pass
    return caught.value.status_code, caught.value.json()["error"]["code"]


def test_a_secret_opens_one_session_with_its_settings(client: TestClient) -> None:
    session = {"type": "realtime", "instructions": "Be brief.", "audio": {"output": {"speed": 1.2}}}
    made = make(client, session=session, expires_after={"anchor": "created_at", "seconds": 60})
    assert made["value"].startswith("ek_")
    assert made["session"]["instructions"] == "Be brief."
    offered = ["realtime", f"openai-insecure-api-key.{made['value']}"]
    with client.websocket_connect(URL, subprotocols=offered) as socket:
        first = socket.receive_json()
    assert first["type"] == "session.created"
    assert first["session"]["id"] == made["session"]["id"]
    assert first["session"]["instructions"] == "Be brief."
    assert first["session"]["audio"]["output"]["speed"] == 1.2
    assert refused(client, made["value"]) == (401, "client_secret_spent")


def test_a_secret_is_a_bearer_too(client: TestClient) -> None:
    headers = {"authorization": f"Bearer {make(client)['value']}"}
    with client.websocket_connect(URL, headers=headers) as socket:
        assert socket.receive_json()["type"] == "session.created"


def test_an_expired_and_an_unknown_secret_are_told_apart(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = make(client, expires_after={"seconds": 10})["value"]
    monkeypatch.setattr(ClientSecrets, "state", lambda *_, **__: "expired")
    assert refused(client, value) == (401, "client_secret_expired")
    monkeypatch.undo()
    assert refused(client, "ek_nobody-made-this") == (401, "invalid_client_secret")


def test_a_secret_opens_nothing_else_and_makes_no_other(client: TestClient) -> None:
    headers = {"authorization": f"Bearer {make(client)['value']}"}
    assert client.get("/v1/models", headers=headers).status_code == 401
    assert client.post("/v1/realtime/client_secrets", json={}, headers=headers).status_code == 401
    assert client.post("/v1/realtime/client_secrets", json={}).status_code == 401


def test_what_opened_a_session_may_take_it_up_again() -> None:
    settings = ServerSettings(keys=Keyring({}, KEY))
    with serving(services(ScriptedEngine([()])), limits=settings) as port:
        made = httpx.post(
            f"http://127.0.0.1:{port}/v1/realtime/client_secrets", json={}, headers=BEARER
        ).json()
        key, url = f"openai-insecure-api-key.{made['value']}", f"ws://127.0.0.1:{port}/v1/realtime"
        with dial(url, subprotocols=[Subprotocol(key), RESUME]) as socket:
            assert json.loads(socket.recv(10))["type"] == "session.created"
            resumable = json.loads(socket.recv(10))
            drop(socket)
        again = Subprotocol(f"{RESUME}.{resumable['token']}.{resumable['event_id']}")
        with dial(url, subprotocols=[Subprotocol(key), again]) as socket:
            assert json.loads(socket.recv(10))["type"] == "session.resumed"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"session": {"audio": {"output": {"voice": "nobody"}}}}, "session.audio.output.voice"),
        ({"expires_after": {"seconds": 1}}, "expires_after.seconds"),
        ({"session": {"temperature": "hot"}}, "session.temperature"),
    ],
)
def test_settings_that_no_session_could_have_are_refused_when_the_secret_is_asked(
    client: TestClient, body: dict[str, Any], param: str
) -> None:
    answer = client.post("/v1/realtime/client_secrets", json=body, headers=BEARER)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_secrets_end_and_their_number_is_bounded() -> None:
    now_s = 0.0
    secrets = ClientSecrets(most=2, now_s=lambda: now_s)
    first = secrets.make("settings", 10, "anna")
    secrets.make("settings", 100, None)
    assert secrets.owner(first.value) == "anna"
    with pytest.raises(Overloaded):
        secrets.make("settings", 10, None)
    now_s = 11.0
    assert secrets.state(first.value) == "expired"
    assert secrets.spend(first.value) is None
    third = secrets.make("settings", 10, None)
    assert secrets.state(first.value) == "unknown", "it made room"
    assert secrets.spend(third.value) == "settings"
    assert secrets.state(third.value) == "spent"
    assert secrets.state(third.value, resuming=True) == "good"
    now_s = 10_000.0
    assert secrets.state(third.value, resuming=True) == "spent"
