"""A spoken turn with a server that runs somewhere, over public protocols."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import soundfile as sf
from websockets.sync.client import connect

from step_audio.core.audio import float_to_pcm16, resample

QUESTION: Final = Path(__file__).parents[2] / "web" / "samples" / "capital.mp3"


def ask_aloud(address: str) -> dict[str, Any]:
    """Read a line aloud at `host:port`, then ask a spoken question.

    Returns:
        What was asked, what was answered, and the length of the answer's sound.

    Raises:
        AssertionError: a turn came back without words or without sound.
    """
    body = {"model": "nano", "input": "Hello.", "voice": "rms", "response_format": "wav"}
    spoken = httpx.post(f"http://{address}/v1/audio/speech", json=body, timeout=120)
    spoken.raise_for_status()
    assert np.abs(sf.read(io.BytesIO(spoken.content))[0]).max(initial=0) > 0.03, "silence"
    pcm, rate_hz = sf.read(QUESTION, dtype="float32")
    sound = resample(pcm, rate_hz, 24_000)
    with connect(f"ws://{address}/v1/realtime?model=nano") as socket:
        assert json.loads(socket.recv(30))["type"] == "session.created"
        manual = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        socket.send(json.dumps({"type": "session.update", "session": manual}))
        for start in range(0, len(sound), 2400):
            chunk = base64.b64encode(float_to_pcm16(sound[start : start + 2400])).decode()
            socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": chunk}))
        socket.send('{"type": "input_audio_buffer.commit"}')
        socket.send('{"type": "response.create"}')
        events = [json.loads(socket.recv(120))]
        while events[-1]["type"] not in {"response.done", "error"}:
            events.append(json.loads(socket.recv(120)))
    assert events[-1]["type"] == "response.done", events[-1]
    deltas = [e["delta"] for e in events if e["type"] == "response.output_audio.delta"]
    answer = np.frombuffer(b"".join(map(base64.b64decode, deltas)), dtype="<i2")
    words = "".join(
        e["delta"] for e in events if e["type"] == "response.output_audio_transcript.delta"
    )
    assert words.strip(), "an answer without words"
    assert np.abs(answer).max(initial=0) > 1000, "an answer without sound"
    return {"asked": QUESTION.stem, "answered": words, "sound_s": round(len(answer) / 24_000, 2)}
