"""Spoken turns with a server that runs somewhere, over public protocols only."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import soundfile as sf
from numpy.typing import NDArray
from websockets.sync.client import ClientConnection, connect

from step_audio.core.audio import float_to_pcm16
from step_audio.core.resampling import resample
from step_audio.core.types import Pcm

QUESTION: Final = Path(__file__).parents[1] / "web" / "samples" / "capital.mp3"
RATE_HZ: Final = 24_000


def read_aloud(address: str, text: str) -> Pcm:
    """Return what a server at `host:port` makes of a text, at 24 kHz."""
    body = {"model": "nano", "input": text, "voice": "rms", "response_format": "wav"}
    spoken = httpx.post(f"http://{address}/v1/audio/speech", json=body, timeout=120)
    spoken.raise_for_status()
    sound, rate_hz = sf.read(io.BytesIO(spoken.content), dtype="float32")
    assert rate_hz == RATE_HZ
    assert np.abs(sound).max(initial=0) > 0.03, "silence"
    pcm: Pcm = sound
    return pcm


def append(socket: ClientConnection, pcm: Pcm, rate_hz: int) -> None:
    """Send sound in pieces of 100 ms."""
    sound = resample(pcm, rate_hz, RATE_HZ)
    for start in range(0, len(sound), RATE_HZ // 10):
        chunk = base64.b64encode(float_to_pcm16(sound[start : start + RATE_HZ // 10])).decode()
        socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": chunk}))


def answer(socket: ClientConnection) -> list[dict[str, Any]]:
    """Commit what was appended and return what comes until the answer is done."""
    socket.send('{"type": "input_audio_buffer.commit"}')
    socket.send('{"type": "response.create"}')
    return until_done(socket)


def until_done(socket: ClientConnection) -> list[dict[str, Any]]:
    """Return events up to the end of an answer, or an error."""
    events = [json.loads(socket.recv(120))]
    while events[-1]["type"] not in {"response.done", "error"}:
        events.append(json.loads(socket.recv(120)))
    return events


def sound_of(events: list[dict[str, Any]]) -> NDArray[np.int16]:
    """Return the samples of an answer, 24 kHz. Raises AssertionError: it is silent."""
    deltas = [e["delta"] for e in events if e["type"] == "response.output_audio.delta"]
    sound = np.frombuffer(b"".join(map(base64.b64decode, deltas)), dtype="<i2")
    assert np.abs(sound).max(initial=0) > 1000, "an answer without sound"
    return sound


def ask_aloud(address: str) -> dict[str, Any]:
    """Let a server at `host:port` read a line, then ask it a spoken question.

    Returns:
        What was asked, what was answered, and the length of the answer's sound.

    Raises:
        AssertionError: a turn came back without words or without sound.
    """
    read_aloud(address, "Hello.")
    pcm, rate_hz = sf.read(QUESTION, dtype="float32")
    with connect(f"ws://{address}/v1/realtime?model=nano") as socket:
        assert json.loads(socket.recv(30))["type"] == "session.created"
        manual = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        socket.send(json.dumps({"type": "session.update", "session": manual}))
        append(socket, pcm, rate_hz)
        events = answer(socket)
    assert events[-1]["type"] == "response.done", events[-1]
    words = "".join(
        e["delta"] for e in events if e["type"] == "response.output_audio_transcript.delta"
    )
    assert words.strip(), "an answer without words"
    seconds = round(len(sound_of(events)) / RATE_HZ, 2)
    return {"asked": QUESTION.stem, "answered": words, "sound_s": seconds}
