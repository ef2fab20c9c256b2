"""First sound after the end of the turn with a chat model: ear, chat, voice. Run: make bench-chat

local-chat as it is shipped, with a scripted chat server that takes 50 ms to its first word and
10 ms for each further one. Questions are spoken in real time over the protocol; the end of the turn
is the event `speech_stopped`, half a second after the last word. Four ways: with and without
recognition while the person speaks, with and without answers begun in pauses. What is told of ear,
chat and voice is the time that each of them added after the end of the turn.

Then, in the same run, the plain pipeline that a user would build, which begins when the turn is
over: faster-whisper (base, int8) on the whole question, the whole answer of the same chat server,
all of it through Kokoro-82M in int8 on both cores. `make nano-voices` fetches it; its phones are
espeak-ng's. Each line is JSON; the last one says how much sooner ours sounds.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import time
from collections.abc import Iterator, Sequence
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
from step_audio.data.neural_voices import kokoro
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
VOICE: Final = "af_heart"
BENCH: Final = "chat.first_sound"
PLAIN: Final = "plain"
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

    def when(self, name: str, since_s: float, until_s: float) -> float | None:
        """Return when a value was last observed between two moments: of the answer that is heard,
        not of one that was thrown away."""
        found = [at for at, seen, _ in self.seen if seen == name and since_s <= at <= until_s]
        return found[-1] if found else None

    def values(self, name: str) -> list[float]:
        """Return all that was observed under a name."""
        return [value for _, seen, value in self.seen if seen == name]


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
    heard = max(measures.when("recognition_wait_s", begun, first) or stopped, stopped)
    written = max(measures.when("first_token_s", begun, first) or heard, heard)
    return Turn(heard - stopped, written - heard, first - written)


def _drain(socket: ClientConnection) -> None:
    while json.loads(socket.recv(120))["type"] != "response.done":
        pass
    time.sleep(1.0)  # the next question meets a machine at rest


def ours(
    services: Services,
    settings: DialogSettings,
    way: tuple[bool, bool],
    rounds: int,
    names: Sequence[str],
) -> tuple[list[Turn], Measures]:
    """Return the turns of one way, and what was measured meanwhile."""
    live, early = way
    measures = Measures()
    turns = replace(settings.turns, speculate=early)
    chosen = replace(settings, live_words=live, turns=turns)
    out: list[Turn] = []
    with serving(replace(services, recorder=measures), chosen) as port:
        url = f"ws://127.0.0.1:{port}/v1/realtime"
        for number in range(rounds + 1):  # the first one warms up
            if number == 1:
                measures.seen.clear()
            for name in names if number else names[:1]:
                with connect(url, max_size=None) as socket:
                    turn = ask(socket, spoken(name), measures)
                out += [turn] if number else []
    return out, measures


class PlainPipeline:
    """Whisper on the whole question, the whole answer, all of it through Kokoro."""

    def __init__(self, url: str, threads: int) -> None:
        from faster_whisper import WhisperModel  # noqa: PLC0415

        from step_audio.whisper import base_folder  # noqa: PLC0415

        self._whisper = WhisperModel(
            str(base_folder()), device="cpu", compute_type="int8", cpu_threads=threads
        )
        self._url, self._threads = url, threads

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
        kokoro(text, VOICE, threads=self._threads)
        return Turn(heard - start, written - heard, time.monotonic() - written)


def facts(turns: list[Turn]) -> dict[str, Any]:
    """Return percentiles in ms of the first sound and of its parts, and the parts' shares of it."""
    totals = [turn.ear + turn.chat + turn.voice for turn in turns]
    found: dict[str, Any] = {"turns": len(turns), **_percentiles(totals)}
    for part in PARTS:
        times = [getattr(turn, part) for turn in turns]
        found[part] = _percentiles(times) | {"share": round(sum(times) / sum(totals), 3)}
    return found


def early_facts(measures: Measures) -> dict[str, Any]:
    """Return what answers begun in pauses cost and gained, as /metrics counts them."""
    saved = measures.values("speculation_saved_s")
    return {
        "committed": len(measures.values("speculations.committed")),
        "discarded": len(measures.values("speculations.discarded")),
        "saved_p50_ms": round(1000 * float(np.median(saved))) if saved else 0,
        "wasted_tokens": round(sum(measures.values("speculation_wasted_ids"))),
    }


def _percentiles(times_s: list[float]) -> dict[str, int]:
    p50, p95 = np.percentile(times_s, [50, 95])
    return {"p50_ms": round(1000 * p50), "p95_ms": round(1000 * p95)}


PARTS: Final = ("ear", "chat", "voice")


def measured(
    server: ChatServer, ways: Sequence[str], rounds: int, names: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield what each way took."""
    profile = load_profile("local-chat", {"STEP_AUDIO__CHAT__URL": server.url})
    for way in ways:
        if way == PLAIN:
            plain = PlainPipeline(server.url, threads=2)
            plain.run(names[0])
            yield {"way": way, **facts([plain.run(n) for _ in range(rounds) for n in names])}
            continue
        runtime = Runtime(profile)
        live, early = WAYS[way]
        turns, measures = ours(runtime.services(), runtime.settings(), WAYS[way], rounds, names)
        told: dict[str, Any] = {"way": way, "live_words": live, "early_answers": early}
        yield told | facts(turns) | ({"early": early_facts(measures)} if early else {})


def main() -> None:
    """Print each way as a line of JSON, and how they compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4, help="of all questions, for each way")
    parser.add_argument("--questions", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--ways", nargs="+", choices=[*WAYS, PLAIN], default=[*WAYS, PLAIN])
    args = parser.parse_args()
    p50: dict[str, int] = {}
    with chat_server(first_s=0.05, piece_s=0.01) as server:
        server.replies = [lambda _: saying(ANSWER)]
        for found in measured(server, args.ways, args.rounds, args.questions):
            p50[found["way"]] = found["p50_ms"]
            load = {"load": round(os.getloadavg()[0], 1), "cores": os.cpu_count()}
            print(json.dumps({"bench": BENCH, **found, **load}), flush=True)
    if PLAIN in p50 and len(p50) > 1:
        sooner = {way: round(p50[PLAIN] / took, 1) for way, took in p50.items() if way != PLAIN}
        print(json.dumps({"bench": BENCH, "way": "plain over ours, p50", **sooner}), flush=True)


if __name__ == "__main__":
    main()
