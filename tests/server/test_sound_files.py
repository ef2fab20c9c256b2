"""Sound files over REST and in realtime items, decoded by processes of their own."""

import base64
import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from server.observability.metrics import Metrics
from step_audio.core.decoder_pool import DecoderLimits, DecoderPool
from tests.fakes import MemoryRecorder, ScriptedEngine, text_ids
from tests.server.conftest import Connect
from tests.server.test_http import error
from tests.sound_files import KINDS, a_tone_of, id3_tag, overwritten, sound_file, tone

HEARD = [6, *text_ids("what time is it"), 7, *text_ids("Noon.")]
TRANSCRIBE = "/v1/audio/transcriptions"
CHAT = "/v1/chat/completions"
DAMAGED = b"junk" + a_tone_of("mp3", 2.0)
SKIPPED = "4 bytes in front of the sound were skipped"


class SharedPool(DecoderPool):
    """Outlives the applications of these tests."""

    def close(self) -> None:
        pass

    def end(self) -> None:
        super().close()

    def kill_who_waits(self) -> None:
        """Kill the decoders that wait, and stop others from taking their place for a moment."""
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in children:
            with contextlib.suppress(ProcessLookupError):  # it had handed over and ended
                os.kill(int(child), signal.SIGKILL)


@pytest.fixture(scope="module")
def pool() -> Iterator[SharedPool]:
    made = SharedPool(DecoderLimits(wall_s=20))
    yield made
    made.end()


@pytest.fixture
def client(connect: Connect, pool: SharedPool) -> TestClient:
    return connect(engine=ScriptedEngine([HEARD]), decoder=pool, metrics=Metrics())


def counted(client: TestClient, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"step_audio_{name}"))


def chat(data: bytes, **more: Any) -> dict[str, Any]:
    sound = {"data": base64.b64encode(data).decode(), "format": "mp3"}
    content = [{"type": "input_audio", "input_audio": sound}]
    return {"messages": [{"role": "user", "content": content}], **more}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_transcribed_and_answered(client: TestClient, kind: str) -> None:
    data = a_tone_of(kind, 1.0)
    got = client.post(TRANSCRIBE, files={"file": ("a", data)})
    assert (got.status_code, got.json()["text"]) == (200, "what time is it")
    assert "warnings" not in got.json()
    assert "step-audio-warnings" not in got.headers
    assert client.post(CHAT, json=chat(data)).status_code == 200


@pytest.mark.parametrize("channels", [7, 8, 9, 16, 33, 64])
def test_family_1_any_number_of_channels_is_transcribed(client: TestClient, channels: int) -> None:
    wav = sound_file("wav", tone(0.5, 16_000, channels), 16_000)
    assert client.post(TRANSCRIBE, files={"file": ("a.wav", wav)}).status_code == 200
    assert client.post(CHAT, json=chat(wav)).status_code == 200


def test_family_1_a_decoder_that_dies_is_a_400_and_counted(
    client: TestClient, pool: SharedPool
) -> None:
    slow = sound_file("wav", tone(500.0, 24_000), 24_000)
    answers: list[Any] = []

    def upload() -> None:
        answers.append(client.post(TRANSCRIBE, files={"file": ("a.wav", slow)}))

    asking = threading.Thread(target=upload)
    asking.start()
    while asking.is_alive():  # until one is met while it decodes
        pool.kill_who_waits()
        time.sleep(0.005)
    asking.join()
    assert answers[0].status_code == 400
    assert (error(answers[0])["param"], error(answers[0])["code"]) == ("file", "invalid_audio")
    assert "cannot be decoded" in error(answers[0])["message"]
    assert counted(client, "decoder_deaths_total") == 1
    again = client.post(TRANSCRIBE, files={"file": ("a.wav", a_tone_of("wav", 0.5))})
    assert again.status_code == 200


@pytest.mark.parametrize("response_format", ["json", "verbose_json"])
def test_family_2_json_says_what_was_skipped(client: TestClient, response_format: str) -> None:
    data = {"response_format": response_format}
    got = client.post(TRANSCRIBE, files={"file": ("a.mp3", DAMAGED)}, data=data)
    assert got.json()["text"] == "what time is it"
    assert got.json()["warnings"] == [SKIPPED]
    assert got.headers["step-audio-warnings"] == SKIPPED


@pytest.mark.parametrize("response_format", ["text", "srt", "vtt"])
def test_family_2_a_header_says_it_of_what_is_no_json(
    client: TestClient, response_format: str
) -> None:
    data = {"response_format": response_format}
    got = client.post(TRANSCRIBE, files={"file": ("a.mp3", DAMAGED)}, data=data)
    assert "what time is it" in got.text
    assert got.headers["step-audio-warnings"] == SKIPPED
    assert SKIPPED not in got.text


def test_family_2_the_last_event_says_it(client: TestClient) -> None:
    got = client.post(TRANSCRIBE, files={"file": ("a.mp3", DAMAGED)}, data={"stream": "true"})
    events = [json.loads(part[6:]) for part in got.text.split("\n\n") if part]
    assert events[-1]["warnings"] == [SKIPPED]
    assert "warnings" not in events[0]


def test_family_2_a_chat_answer_says_it(client: TestClient) -> None:
    got = client.post(CHAT, json=chat(DAMAGED))
    assert got.json()["warnings"] == [SKIPPED]
    assert got.headers["step-audio-warnings"] == SKIPPED
    parts = client.post(CHAT, json=chat(DAMAGED, stream=True)).text.split("\n\n")
    chunks = [json.loads(part[6:]) for part in parts if part and "[DONE]" not in part]
    assert [chunk.get("warnings") for chunk in chunks if "warnings" in chunk] == [[SKIPPED]]
    assert chunks[-1]["warnings"] == [SKIPPED]


@pytest.mark.parametrize("kind", ["mp3", "aac", "flac", "fragmented m4a", "webm", "ogg"])
def test_family_2_damaged_files_are_transcribed(client: TestClient, kind: str) -> None:
    data = overwritten(a_tone_of(kind, 4.0))
    got = client.post(TRANSCRIBE, files={"file": ("a", data)})
    assert got.status_code == 200
    assert got.json()["usage"]["seconds"] == pytest.approx(4.0, abs=0.5)
    assert got.json()["warnings"]
    assert counted(client, "sound_warnings_total") == 1


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"<!doctype html><p>504 Gateway Timeout", "an HTML page"),
        (a_tone_of("m4a")[:-3000], "cut off before its index"),
        (sound_file("wav", tone(0.1, 16_000, 65), 16_000), "65 channels"),
        (b"fLaC" + b"\xff" * 200, "damaged|no samples|not audio"),
    ],
)
def test_files_that_nobody_can_read_are_400_with_the_reason(
    client: TestClient, data: bytes, why: str
) -> None:
    got = client.post(TRANSCRIBE, files={"file": ("a", data)})
    assert (got.status_code, error(got)["param"], error(got)["code"]) == (
        400,
        "file",
        "invalid_audio",
    )
    assert any(part in error(got)["message"] for part in why.split("|"))
    spoken = client.post(CHAT, json=chat(data or b"\0"))
    assert spoken.status_code == 400
    assert error(spoken)["param"] == "messages.0.content.0.input_audio"


def test_base64_with_line_breaks_is_taken(client: TestClient) -> None:
    body = chat(b"")
    lines = base64.encodebytes(a_tone_of("wav", 0.5)).decode()
    body["messages"][0]["content"][0]["input_audio"]["data"] = lines
    assert client.post(CHAT, json=body).status_code == 200


@pytest.mark.parametrize("kind", ["wav", "m4a", "webm", "flac"])
def test_a_file_in_a_realtime_item_is_heard_as_one(
    connect: Connect, pool: SharedPool, kind: str
) -> None:
    client = connect(engine=ScriptedEngine([HEARD]), decoder=pool, recorder=MemoryRecorder())
    data = a_tone_of(kind, 2.0)
    with client.websocket_connect("/v1/realtime", headers={"host": "localhost"}) as socket:
        socket.receive_json()
        part = {"type": "input_audio", "audio": base64.b64encode(data).decode()}
        item = {"type": "message", "role": "user", "content": [part]}
        socket.send_json({"type": "conversation.item.create", "item": item})
        while (event := socket.receive_json())["type"] != "conversation.item.done":
            assert event["type"] != "error", event
        assert "warnings" not in event
        part["audio"] = base64.b64encode(id3_tag(9) + b"junk" + data).decode()
        socket.send_json({"type": "conversation.item.create", "item": item})
        while (event := socket.receive_json())["type"] != "conversation.item.done":
            assert event["type"] != "error", event
        assert event["warnings"] == [
            {"code": "sound_skipped", "message": SKIPPED, "param": "item.content.0.audio"}
        ]
        part["audio"] = base64.b64encode(b"OggS" + bytes(40)).decode()
        socket.send_json({"type": "conversation.item.create", "item": item})
        while (event := socket.receive_json())["type"] != "error":
            assert event["type"] != "conversation.item.done"
        assert event["error"]["param"] == "item.content.0.audio"
        assert event["error"]["code"] == "invalid_audio"
