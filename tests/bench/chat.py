"""First sound after the end of the turn with a chat model: ear, chat, voice. Run: make bench-chat

local-chat as it is shipped, with a scripted chat server that takes 50 ms to its first word and
10 ms for each further one. Questions are spoken in real time over the protocol; the end of the turn
is the event `speech_stopped`, half a second after the last word. Four ways: with and without
recognition while the person speaks, with and without answers begun in pauses. What is told of ear,
chat and voice is the time that each of them added after the end of the turn.

With --kokoro FOLDER, in the same run: the plain pipeline that a user would build, which begins when
the turn is over: faster-whisper on the whole question, the whole answer of the same chat server,
all of it through Kokoro-82M in int8 (FOLDER: kokoro.onnx, vocab.json, af_heart.bin; espeak-ng gives
the phones). The last line is JSON.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
from websockets.sync.client import ClientConnection, connect

from step_audio.core.audio import float_to_pcm16, read_audio
from step_audio.core.config import load_profile
from step_audio.core.ports import Services
from step_audio.core.resampling import resample
from step_audio.core.types import Pcm
from step_audio.dialog.settings import DialogSettings
from step_audio.runtime import Runtime
from tests.any_chat.scripted import chat_server
from tests.chat_server import ChatServer, saying
from tests.server.loopback import serving

SAMPLES: Final = Path(__file__).parents[2] / "web" / "samples"
NAMES: Final = ("capital", "legs", "joke", "sum", "time")
RATE_HZ: Final = 24_000
CHUNK: Final = 2_400
ANSWER: Final = (
    "That is a good question, and the answer is short. It is warm in Rome at noon, and it will rain"
    " in the evening. Tomorrow the sun will be back."
)
WAYS: Final = {
    "live, early": (True, True),
    "live": (True, False),
    "early": (False, True),
    "neither": (False, False),
}


@dataclass
class Measures:
    """Keeps what was observed, with its time."""

    seen: list[tuple[float, str, float]] = field(default_factory=list)

    def observe(self, name: str, value: float) -> None:
        """Keep one value."""
        self.seen.append((time.monotonic(), name, value))

    def when(self, name: str, since_s: float) -> float | None:
        """Return when a value was first observed after a moment."""
        return next((at for at, seen, _ in self.seen if seen == name and at >= since_s), None)


@dataclass(frozen=True)
class Turn:
    """Seconds after the end of the turn at which each part was done."""

    ear: float
    chat: float
    voice: float


def spoken(name: str) -> Pcm:
    """Return a question at 24 kHz with a little silence in front."""
    pcm, rate_hz = read_audio(SAMPLES / f"{name}.mp3")
    silence = np.zeros(RATE_HZ // 2, np.float32)
    return np.concatenate([silence, resample(pcm, rate_hz, RATE_HZ)])


def ask(socket: ClientConnection, question: Pcm, measures: Measures) -> Turn:
    """Ask in real time; return when each part was done."""
    sound = np.concatenate([question, np.zeros(3 * RATE_HZ, np.float32)])
    begun, at, stopped = time.monotonic(), 0, 0.0
    while True:
        due = begun + (at + CHUNK) / RATE_HZ
        while (left := due - time.monotonic()) > 0 or at >= len(sound):
            try:
                event = json.loads(socket.recv(max(left, 0.001) if at < len(sound) else 60))
            except TimeoutError:
                break
            kind = event["type"]
            if kind == "input_audio_buffer.speech_stopped":
                stopped = time.monotonic()
            if kind == "response.output_audio.delta":
                first = time.monotonic()
                _drain(socket)
                return _turn(measures, begun, stopped, first)
            assert kind != "error", event
        if at < len(sound):
            audio = base64.b64encode(float_to_pcm16(sound[at : at + CHUNK])).decode()
            socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
            at += CHUNK


def _turn(measures: Measures, begun: float, stopped: float, first: float) -> Turn:
    """Return what each part added after the end of the turn: what was done before adds nothing."""
    heard = max(measures.when("recognition_wait_s", begun) or stopped, stopped)
    written = max(measures.when("first_token_s", begun) or heard, heard)
    return Turn(heard - stopped, written - heard, first - written)


def _drain(socket: ClientConnection) -> None:
    while json.loads(socket.recv(120))["type"] != "response.done":
        pass
    time.sleep(1.0)  # the next question meets a machine at rest


def ours(
    services: Services, settings: DialogSettings, way: tuple[bool, bool], rounds: int
) -> list[Turn]:
    """Return the turns of one way."""
    live, early = way
    measures = Measures()
    turns = replace(settings.turns, speculate=early)
    chosen = replace(settings, live_words=live, turns=turns)
    out: list[Turn] = []
    with serving(replace(services, recorder=measures), chosen) as port:
        url = f"ws://127.0.0.1:{port}/v1/realtime"
        for number in range(rounds + 1):  # the first one warms up
            for name in NAMES if number else NAMES[:1]:
                with connect(url, max_size=None) as socket:
                    turn = ask(socket, spoken(name), measures)
                out += [turn] if number else []
    return out


class PlainPipeline:
    """Whisper on the whole question, the whole answer, all of it through Kokoro."""

    def __init__(self, folder: Path, url: str, threads: int) -> None:
        import onnxruntime as ort  # noqa: PLC0415
        from faster_whisper import WhisperModel  # noqa: PLC0415

        from step_audio.whisper import base_folder  # noqa: PLC0415

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self._whisper = WhisperModel(
            str(base_folder()), device="cpu", compute_type="int8", cpu_threads=threads
        )
        self._kokoro = ort.InferenceSession(str(folder / "kokoro.onnx"), options)
        self._phones = json.loads((folder / "vocab.json").read_text())["vocab"]
        self._style = np.fromfile(folder / "af_heart.bin", dtype=np.float32).reshape(-1, 256)
        self._url = url

    def run(self, name: str) -> Turn:
        """Answer one question."""
        pcm, rate_hz = read_audio(SAMPLES / f"{name}.mp3")
        sound = resample(pcm, rate_hz, 16_000)
        start = time.monotonic()
        segments, _ = self._whisper.transcribe(sound)
        question = " ".join(segment.text for segment in segments)
        heard = time.monotonic()
        body = {"model": "m", "messages": [{"role": "user", "content": question}], "stream": True}
        stream = httpx.post(f"{self._url}/chat/completions", json=body, trust_env=False).text
        chunks = [json.loads(x[6:]) for x in stream.splitlines() if x.startswith("data: {")]
        text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks)
        written = time.monotonic()
        self._speak(text)
        return Turn(heard - start, written - heard, time.monotonic() - written)

    def _speak(self, text: str) -> Pcm:
        command = ["espeak-ng", "-q", "--ipa=3", "--sep=", "-v", "en-us", text]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        tokens = [self._phones[c] for c in " ".join(said.split()) if c in self._phones][:500]
        feed = {
            "tokens": np.array([[0, *tokens, 0]], np.int64),
            "style": self._style[min(len(tokens), len(self._style) - 1)][None],
            "speed": np.ones(1, np.float32),
        }
        made: Pcm = self._kokoro.run(None, feed)[0].ravel()
        return made


def facts(turns: list[Turn]) -> dict[str, Any]:
    """Return percentiles of the first sound, and the medians of what it is made of, in ms."""
    total = [1000 * (turn.ear + turn.chat + turn.voice) for turn in turns]
    p50, p95 = np.percentile(total, [50, 95])
    parts = {part: np.median([1000 * getattr(turn, part) for turn in turns]) for part in PARTS}
    return {"p50_ms": round(p50), "p95_ms": round(p95)} | {k: round(v) for k, v in parts.items()}


PARTS: Final = ("ear", "chat", "voice")


def measured(server: ChatServer, kokoro: Path | None, rounds: int) -> Iterator[tuple[str, Any]]:
    """Yield each way and what it took."""
    profile = load_profile("local-chat", {"STEP_AUDIO__CHAT__URL": server.url})
    for name, way in WAYS.items():
        runtime = Runtime(profile)
        yield name, facts(ours(runtime.services(), runtime.settings(), way, rounds))
    if kokoro is not None:
        plain = PlainPipeline(kokoro, server.url, threads=2)
        plain.run("capital")
        yield "plain", facts([plain.run(name) for _ in range(rounds) for name in NAMES])


def main() -> None:
    """Print a line for each way, and all as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--kokoro", type=Path)
    args = parser.parse_args()
    found: dict[str, Any] = {}
    with chat_server(first_s=0.05, piece_s=0.01) as server:
        server.replies = [lambda _: saying(ANSWER)]
        for name, took in measured(server, args.kokoro, args.rounds):
            found[name] = took
            print(f"{name:12}", took, flush=True)
    loads = {"load": [round(load, 1) for load in os.getloadavg()], "cores": os.cpu_count()}
    print(json.dumps({"bench": "chat.first_sound", **found, **loads}))


if __name__ == "__main__":
    main()
