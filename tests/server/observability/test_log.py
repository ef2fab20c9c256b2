"""What an operator reads: form, fields, causes, and what must never stand there."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

from server.admission.limits import ServerSettings
from server.observability.log import LogForm, LogLevel, configure_log
from step_audio.core.errors import EngineGone, EngineTimeout, PartFailed
from step_audio.core.keys import Keyring
from tests.fakes import MemoryRecorder
from tests.server.conftest import Connect

SECRET = "sa_my-secret-key-0123456789"
WORDS = "nobody may read these words"


@pytest.fixture
def configure() -> Iterator[None]:
    """Put the root logger back as it was."""
    names = ("", "step_audio", "server", "tokenizer", "vocoder")
    kept = [(log := logging.getLogger(name), log.handlers[:], log.level) for name in names]
    yield None
    for log, handlers, level in kept:
        log.handlers[:] = handlers
        log.setLevel(level)


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def fail() -> None:
    local = WORDS
    assert local
    try:
        try:
            raise ConnectionRefusedError(111, "Connection refused")
        except ConnectionRefusedError as refused:
            raise EngineGone("http://engine:8000", "connection refused") from refused
    except EngineGone as gone:
        raise PartFailed("engine") from gone


@pytest.mark.usefixtures("configure")
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_failure_is_told_with_its_chain_and_without_local_values(
    form: LogForm, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_log(form)
    try:
        fail()
    except PartFailed:
        logging.getLogger("server.x").exception("response failed", extra={"part": "engine"})
    told = capsys.readouterr().err
    assert "PartFailed: internal error in the engine" in told
    assert "EngineGone: the engine was lost: connection refused" in told
    assert "ConnectionRefusedError: [Errno 111] Connection refused" in told
    assert WORDS not in told
    if form == "json":
        (line,) = told.splitlines()
        fields = json.loads(line)
        assert fields["event"] == "response failed"
        assert fields["level"] == "error"
        assert fields["logger"] == "server.x"
        assert fields["part"] == "engine"
        assert fields["cause"].startswith("PartFailed: ")
        assert fields["cause"].count(" <- ") == 2
        assert fields["timestamp"].endswith("Z")


@pytest.mark.usefixtures("configure")
@pytest.mark.parametrize(
    ("level", "seen"), [("debug", 3), ("info", 2), ("warning", 1), ("error", 0)]
)
def test_the_level_decides_what_is_logged(
    level: LogLevel, seen: int, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_log("json", level)
    for at in (logging.DEBUG, logging.INFO, logging.WARNING):
        logging.getLogger("server.x").log(at, "said")
    assert len(logged(capsys)) == seen


@pytest.mark.usefixtures("configure")
@pytest.mark.parametrize("form", ["text", "json"])
def test_what_a_library_hangs_on_every_record_is_not_told(
    form: LogForm, capsys: pytest.CaptureFixture[str]
) -> None:
    made = logging.getLogRecordFactory()

    def with_time(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = made(*args, **kwargs)
        record.__dict__["_ray_timestamp_ns"] = 1
        return record

    configure_log(form)
    logging.setLogRecordFactory(with_time)
    try:
        logging.getLogger("server.x").warning("said", extra={"tool": "clock"})
    finally:
        logging.setLogRecordFactory(made)
    told = capsys.readouterr().err
    assert "clock" in told
    assert "_ray" not in told


@pytest.mark.usefixtures("configure")
def test_an_error_that_is_not_raised_is_told_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_log("json")
    error = EngineTimeout("the engine", 0.1)
    logging.getLogger("server.x").error("request failed", exc_info=error)
    (line,) = logged(capsys)
    assert line["cause"] == "EngineTimeout: no token from the engine after 0.1 s"


@pytest.mark.usefixtures("configure")
def test_lines_of_a_request_name_it_and_the_key_but_no_secret(
    connect: Connect, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_log("json", "debug")
    client = connect(settings=ServerSettings(keys=Keyring({}, SECRET)))
    headers = {"authorization": f"Bearer {SECRET}", "x-request-id": "mine-1"}
    body = {"input": WORDS, "voice": "no such voice"}
    answer = client.post("/v1/audio/speech?key=hidden", json=body, headers=headers)
    assert answer.headers["x-request-id"] == "mine-1"
    told = capsys.readouterr().err
    (line,) = (row for row in map(json.loads, told.splitlines()) if row["event"] == "request")
    assert line["request"] == "mine-1"
    assert line["key"]
    assert line["method"] == "POST"
    assert line["path"] == "/v1/audio/speech"
    assert line["status"] == answer.status_code == 400
    assert line["ms"] >= 0
    for hidden in (SECRET, "hidden", WORDS, "no such voice"):
        assert hidden not in told


@pytest.mark.usefixtures("configure")
def test_lines_of_a_session_name_it(connect: Connect, capsys: pytest.CaptureFixture[str]) -> None:
    configure_log("json")
    with connect().websocket_connect("ws://localhost/v1/realtime") as socket:
        session = socket.receive_json()["session"]["id"]
        socket.send_text(
            json.dumps(
                {
                    "type": "conversation.item.create",
                    "item": {
                        "type": "message",
                        "role": "user",
                        "content": [{"type": "input_text", "text": WORDS}],
                    },
                }
            )
        )
        while socket.receive_json()["type"] != "conversation.item.done":
            pass
    told = ""
    for _ in range(100):  # the session ends behind its socket
        told += capsys.readouterr().err
        if "session ended" in told:
            break
        time.sleep(0.05)
    lines = [json.loads(row) for row in told.splitlines()]
    assert [row["event"] for row in lines if row.get("session") == session] == [
        "session began",
        "session ended",
    ]
    assert WORDS not in told


@pytest.mark.usefixtures("configure")
def test_probes_and_the_page_are_quiet(
    connect: Connect, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_log("json")
    client = connect()
    for path in ("/healthz", "/readyz", "/metrics", "/favicon.ico"):
        client.get(path)
    client.get("/v1/models")
    told = [row["path"] for row in logged(capsys) if row["event"] == "request"]
    assert "/v1/models" in told
    assert not {"/healthz", "/readyz"} & set(told)


def test_requests_are_counted_by_route_and_status(connect: Connect) -> None:
    recorder = MemoryRecorder()
    client = connect(recorder=recorder)
    client.get("/v1/models")
    client.delete("/v1/audio/voices/who-is-this")
    client.get("/v1/what/ever/a/stranger/sends")
    counted = [name for name, _ in recorder.seen if name.startswith("requests.")]
    assert counted == [
        "requests./v1/models.200",
        "requests./v1/audio/voices/{voice_id}.400",
        "requests.other.404",
    ]
    timed = [name for name, _ in recorder.seen if name.startswith("request_s.")]
    assert len(timed) == 3
