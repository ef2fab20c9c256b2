import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import WebSocketDenialResponse

from server.admission.limits import ServerSettings
from server.observability.metrics import Metrics
from step_audio.core.errors import EngineError
from step_audio.core.keys import Keyring
from tests.fakes import VOCAB, ScriptedEngine, group
from tests.server.conftest import Connect

SPEECH = VOCAB.ids([group(1), group(2)])


def error(response: Any) -> dict[str, Any]:
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    found: dict[str, Any] = body["error"]
    return found


def test_health_and_readiness(connect: Connect) -> None:
    client = connect()
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_readiness_names_the_part_that_does_not_answer(connect: Connect) -> None:
    client = connect(engine=ScriptedEngine([()], well=False))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "unavailable", "missing": ["language model"]}
    assert client.get("/healthz").status_code == 200, "the process itself is well"


def test_the_loaded_model_is_listed(connect: Connect) -> None:
    client = connect()
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["fake"]
    assert client.get("/v1/models/fake").json() == listed["data"][0]
    for name in ("tts-1", "some/whisper-1"):  # every name is answered by it
        assert client.get(f"/v1/models/{name}").json() == {**listed["data"][0], "id": name}
    assert {"id", "object", "created", "owned_by"} == set(listed["data"][0])


def test_the_voices_are_listed(connect: Connect) -> None:
    voices = connect().get("/v1/audio/voices").json()["voices"]
    assert [(voice["id"], voice["name"]) for voice in voices] == [("rms", "rms"), ("slt", "slt")]
    legacy = connect().get("/v1/audio/voices", params={"legacy": True}).json()
    assert legacy == {"voices": ["rms", "slt"]}


def test_a_broken_engine_is_a_server_error_in_the_same_shape(connect: Connect) -> None:
    client = connect(engine=ScriptedEngine([[]], error=EngineError("no memory")))
    got = client.post("/v1/audio/speech", json={"input": "Hello."})
    assert (got.status_code, error(got)["type"], error(got)["code"]) == (
        500,
        "server_error",
        "engine_failed",
    )


@pytest.mark.parametrize("with_page", [False, True])
@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ("GET /v1/nothing", 404, "not_found"),
        ("POST /v1/completions", 404, "not_found"),
        ("DELETE /v1/models", 405, "method_not_allowed"),
        ("GET /v1/audio/speech", 405, "method_not_allowed"),
        ("PUT /v1/audio/voices/slt", 405, "method_not_allowed"),
    ],
)
def test_unknown_routes_answer_in_the_error_shape(
    connect: Connect, tmp_path: Path, asked: str, status: int, code: str, *, with_page: bool
) -> None:
    got = connect(web=tmp_path if with_page else None).request(*asked.split())
    assert (got.status_code, error(got)["code"]) == (status, code)
    assert ("allow" in got.headers) is (status == 405)


def test_an_unknown_socket_is_refused_in_the_error_shape(connect: Connect, tmp_path: Path) -> None:
    for web in (None, tmp_path):
        with (
            pytest.raises(WebSocketDenialResponse) as refused,
            connect(web=web).websocket_connect("ws://localhost/v1/realtime/nothing"),
        ):
            pass
        assert (refused.value.status_code, error(refused.value)["code"]) == (404, "not_found")


def test_an_address_with_a_slash_too_many_finds_its_route(connect: Connect, tmp_path: Path) -> None:
    assert connect(web=tmp_path).get("/v1/audio/voices/").json()["object"] == "list"


def test_bodies_that_are_too_large_are_refused(connect: Connect) -> None:
    client = connect(settings=ServerSettings(max_body_bytes=100))
    announced = client.post("/v1/audio/speech", json={"input": "x" * 200})
    chunked = client.post(
        "/v1/audio/speech",
        content=(b"x" * 60 for _ in range(3)),
        headers={"content-type": "application/json"},
    )
    for got in (announced, chunked):
        assert (got.status_code, error(got)["code"]) == (413, "request_too_large")


@pytest.mark.parametrize("content", [b"{", b'{"input": "\\ud800"}', b"[]", b"\xff"])
def test_what_is_not_a_json_object_of_text_is_refused(connect: Connect, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    got = connect().post("/v1/audio/speech", content=content, headers=headers)
    # Bytes that are no text at all are refused before validation.
    assert got.status_code == 400
    assert error(got)["type"] == "invalid_request_error"
    if content == b"{":
        assert error(got)["param"] is None
        assert "no JSON" in error(got)["message"]


def test_a_key_is_asked_under_v1_only(connect: Connect) -> None:
    client = connect(settings=ServerSettings(keys=Keyring({}, "s3cret"), hosts=frozenset()))
    assert client.get("/healthz").status_code == 200
    assert client.get("/v1/models").status_code == 401
    for headers in ({"Authorization": "Bearer nope"}, {"Authorization": "s3cret"}):
        assert error(client.get("/v1/models", headers=headers))["code"] == "invalid_api_key"
    for headers in ({"Authorization": "Bearer s3cret"}, {"api-key": "s3cret"}):
        assert client.get("/v1/models", headers=headers).status_code == 200


def test_an_unkeyed_server_answers_to_its_own_names_only(connect: Connect) -> None:
    client = connect()
    for host, status in (("127.0.0.1:8000", 200), ("[::1]:8000", 200), ("evil.example", 403)):
        assert client.get("/v1/models", headers={"host": host}).status_code == status


def test_who_calls_a_server_by_an_unknown_name_is_told_what_the_operator_can_do(
    connect: Connect,
) -> None:
    told = error(connect().get("/v1/models", headers={"host": "10.42.0.7:8000"}))
    assert told["code"] == "forbidden"
    assert "server.hosts" in told["message"]
    assert "step-audio key" in told["message"]


def test_probes_are_answered_under_any_name_and_metrics_when_open(connect: Connect) -> None:
    elsewhere = {"host": "10.1.2.3:8000"}
    for open_metrics, status in ((False, 403), (True, 200)):
        settings = ServerSettings(open_metrics=open_metrics)
        client = connect(settings=settings, metrics=Metrics())
        assert client.get("/metrics", headers=elsewhere).status_code == status
        assert client.get("/healthz", headers=elsewhere).status_code == 200
        assert client.get("/readyz", headers=elsewhere).status_code == 200
        assert client.get("/v1/models", headers=elsewhere).status_code == 403


def test_foreign_pages_cannot_post(connect: Connect) -> None:
    client = connect([SPEECH])
    for origin, status in (("http://evil.example", 403), ("http://localhost", 200)):
        got = client.post("/v1/audio/speech", json={"input": "Hi."}, headers={"origin": origin})
        assert got.status_code == status


def test_the_page_may_load_nothing_foreign(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<!doctype html>")
    got = connect(web=tmp_path).get("/")
    assert got.text == "<!doctype html>"
    policy = got.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert error(connect(web=tmp_path).get("/../secret"))["code"] == "not_found"


def test_metrics_are_read_without_a_key_only_where_the_operator_says_so(connect: Connect) -> None:
    ring = Keyring({}, "s3cret")
    closed = connect(settings=ServerSettings(keys=ring), metrics=Metrics())
    assert closed.get("/metrics").status_code == 401
    keyed = closed.get("/metrics", headers={"authorization": "Bearer s3cret"})
    assert "step_audio_sessions" in keyed.text
    opened = connect(settings=ServerSettings(keys=ring, open_metrics=True), metrics=Metrics())
    assert opened.get("/metrics").status_code == 200
    assert connect().get("/metrics").status_code == 404


def test_listed_pages_elsewhere_may_ask_and_no_others(connect: Connect) -> None:
    for ring in (Keyring({}), Keyring({}, "s3cret")):
        settings = ServerSettings(keys=ring, origins=frozenset({"https://kiosk.example"}))
        client = connect(settings=settings)
        for origin, status in (
            ("https://kiosk.example", 400),
            ("https://evil.example", 403),
            ("http://localhost", 400),
        ):
            headers = {"origin": origin, "authorization": "Bearer s3cret"}
            answered = client.post("/v1/audio/speech", json={}, headers=headers)
            assert answered.status_code == status


def test_refusals_are_counted_by_reason(connect: Connect) -> None:
    metrics = Metrics()
    client = connect(settings=ServerSettings(keys=Keyring({}, "s3cret")), metrics=metrics)
    client.get("/v1/models")
    client.get("/v1/models", headers={"host": "evil.example"})
    assert b'guard_stops_total{reason="key"} 1.0' in metrics.text()
    assert b'guard_stops_total{reason="host"} 1.0' in metrics.text()


def test_no_route_is_described_with_an_error_that_is_never_sent(connect: Connect) -> None:
    schema = connect().get("/openapi.json").json()
    answers = [op["responses"] for path in schema["paths"].values() for op in path.values()]
    assert answers
    assert not any("422" in responses for responses in answers)
    assert "ValidationError" not in json.dumps(schema)
