"""nano as it ships: real weights, real sockets, a spoken question of the golden clips."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile as sf
from websockets.sync.client import ClientConnection, connect

from step_audio.cli import main
from step_audio.core.audio import float_to_pcm16, read_audio, resample
from step_audio.core.config import load_profile
from step_audio.core.weights import open_weights
from step_audio.runtime import Runtime
from tests.server.loopback import serving

QUESTION = Path(__file__).parents[1] / "golden" / "audio" / "en_1.wav"
MOST_BYTES = 60_000_000


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    runtime = Runtime(load_profile("nano"))
    with serving(runtime.services(), runtime.settings()) as bound:
        yield bound


def converse(socket: ClientConnection) -> list[dict[str, Any]]:
    """Send the question and return what comes until the answer is done."""
    pcm, rate_hz = read_audio(QUESTION)
    sound = resample(pcm, rate_hz, 24_000)
    for start in range(0, len(sound), 2400):
        chunk = base64.b64encode(float_to_pcm16(sound[start : start + 2400])).decode()
        socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": chunk}))
    socket.send('{"type": "input_audio_buffer.commit"}')
    socket.send('{"type": "response.create"}')
    events = [json.loads(socket.recv(60))]
    while events[-1]["type"] not in {"response.done", "error"}:
        events.append(json.loads(socket.recv(60)))
    return events


def test_the_shipped_weights_are_whole_and_small() -> None:
    profile = load_profile("nano")
    weights = open_weights(profile.weights, profile.origin)
    weights.verify()
    assert weights.total_bytes <= MOST_BYTES
    assert "MODEL_CARD.md" in weights.files


def test_ask_writes_a_spoken_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = tmp_path / "answer.wav"
    assert main(["ask", str(QUESTION), "-o", str(answer), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert set(facts) == {"heard", "text", "calls", "first_audio_ms", "rtf", "seconds"}
    assert facts["text"]
    sound, rate_hz = sf.read(answer)
    assert len(sound) / rate_hz == pytest.approx(facts["seconds"], abs=0.01)
    assert np.abs(sound).max() > 0.05


def test_the_same_seed_gives_the_same_answer(tmp_path: Path) -> None:
    for name in ("one.wav", "two.wav"):
        assert main(["ask", str(QUESTION), "-o", str(tmp_path / name), "--seed", "3"]) == 0
    assert (tmp_path / "one.wav").read_bytes() == (tmp_path / "two.wav").read_bytes()


def test_speech_is_synthesised_over_rest(port: int) -> None:
    body = {"model": "nano", "input": "Twelve plus thirty is forty two.", "voice": "rms"}
    url = f"http://127.0.0.1:{port}/v1/audio/speech"
    reply = httpx.post(url, json={**body, "response_format": "wav"}, timeout=60)
    assert reply.status_code == 200
    sound, rate_hz = sf.read(io.BytesIO(reply.content))
    assert rate_hz == 24_000
    assert 0.5 < len(sound) / rate_hz < 15
    assert np.abs(sound).max() > 0.05


def test_a_spoken_turn_over_the_websocket_is_answered_in_speech(port: int) -> None:
    with connect(f"ws://127.0.0.1:{port}/v1/realtime?model=nano") as socket:
        assert json.loads(socket.recv(10))["type"] == "session.created"
        events = converse(socket)
    kinds = [event["type"] for event in events]
    assert kinds[-1] == "response.done"
    assert events[-1]["response"]["status"] == "completed"
    first_sound = kinds.index("response.output_audio.delta")
    assert kinds.index("response.created") < first_sound < kinds.index("response.output_audio.done")
    assert any(kind == "response.output_audio_transcript.delta" for kind in kinds)
    deltas = [e["delta"] for e in events if e["type"] == "response.output_audio.delta"]
    sound = np.frombuffer(b"".join(map(base64.b64decode, deltas)), dtype="<i2")
    assert np.abs(sound).max() > 1000


def test_the_server_hears_the_end_of_a_turn_and_of_an_answer(port: int) -> None:
    pcm, rate_hz = read_audio(QUESTION)
    sound = resample(pcm, rate_hz, 24_000)
    sound = np.concatenate((sound, np.zeros(24_000, np.float32)))
    with connect(f"ws://127.0.0.1:{port}/v1/realtime?model=nano") as socket:
        for start in range(0, len(sound), 2400):
            chunk = base64.b64encode(float_to_pcm16(sound[start : start + 2400])).decode()
            socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": chunk}))
        events = [json.loads(socket.recv(60))]
        while events[-1]["type"] not in {"response.done", "error"}:
            events.append(json.loads(socket.recv(60)))
    kinds = [event["type"] for event in events]
    assert kinds[0] == "session.created"
    assert kinds.index("input_audio_buffer.speech_started") < kinds.index("response.created")
    assert "input_audio_buffer.committed" in kinds
    assert "response.output_audio.delta" in kinds
