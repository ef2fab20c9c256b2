"""Spoken questions to a pipeline that a user would build and to ours. Run: make bench-peers

Four ways on the same two cores, one after the other, each a process of its own:

    whole       Whisper base (int8), a scripted chat server, Kokoro-82M (int8), one after the other
    sentences   the same, each sentence spoken as soon as it is written
    local-chat  our server with Whisper base, the same chat server, nano's voice
    nano        our server with nano alone, which knows a small world and answers by itself

Questions come at the pace of speech; each way gets them in the same form that it takes: ours over
the realtime protocol as they are spoken, the pipeline as a file when they end. `first_s` and
`total_s`: from the end of the question to the first and the last sound that is there; `cpu_s`:
of the process and what it starts, hearing included; `memory_mb`: its largest resident set;
`words_right`: the share of the words of its answer that Whisper base hears in the answer's sound,
both in Whisper's own spelling ("42" and "forty two" are the same).
A run asks each question once; the figures are medians over all questions and runs. Kokoro and
Whisper lie in build/voices (make nano-voices). JSON, one line a way, also into --out.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import soundfile
from websockets.sync.client import connect

from step_audio.core.audio import float_to_pcm16, read_audio
from step_audio.core.error_rates import error_rate
from step_audio.core.resampling import resample
from step_audio.core.types import Pcm
from tests.any_chat.scripted import chat_server
from tests.bench.chat import ANSWER
from tests.bench.peers.machine import where_and_when
from tests.chat_server import saying

ROOT: Final = Path(__file__).parents[3]
SAMPLES: Final = ROOT / "web" / "samples"
QUESTIONS: Final = ("capital", "legs", "joke", "sum", "time")
RATE_HZ: Final = 24_000
CHUNK: Final = RATE_HZ // 10
WAYS: Final = ("whole", "sentences", "local-chat", "nano")
START_S: Final = 600.0


@dataclass
class Turn:
    """One answered question."""

    question: str
    first_s: float
    total_s: float
    text: str
    sound: Pcm
    cpu_s: float = 0.0


Ask = Callable[[str], Turn]


def spoken(name: str) -> Pcm:
    """Return a question at 24 kHz."""
    pcm, rate_hz = read_audio(SAMPLES / f"{name}.mp3")
    return resample(pcm, rate_hz, RATE_HZ)


@contextmanager
def peer(way: str, chat: str, work: Path, python: Path) -> Iterator[tuple[int, Ask]]:
    """Run the pipeline of packages; yield its process and how it is asked."""
    script = Path(__file__).with_name("pipeline.py")
    command = [str(python), str(script), "--by", way, "--chat", chat]
    process = subprocess.Popen(
        [*command, "--voices", str(ROOT / "build" / "voices")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    answers = process.stdout

    def ask(name: str) -> Turn:
        assert process.stdin is not None
        question, out = work / f"{name}.wav", work / "answer.wav"
        soundfile.write(question, resample(spoken(name), RATE_HZ, 16_000), 16_000)
        process.stdin.write(json.dumps({"question": str(question), "out": str(out)}) + "\n")
        process.stdin.flush()
        row = json.loads(answers.readline())
        sound, _ = soundfile.read(out, dtype="float32")
        return Turn(name, row["first_s"], row["total_s"], row["text"], sound)

    try:
        json.loads(answers.readline())
        yield process.pid, ask
    finally:
        process.stdin.close()
        answers.close()
        process.wait(30)


@contextmanager
def ours(profile: str, chat: str) -> Iterator[tuple[int, Ask]]:
    """Run our server; yield its process and how it is asked."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "step_audio", "serve", "--profile", profile]
    environ = {**os.environ, "STEP_AUDIO__LIMITS__ADMISSION": "fixed"}
    if profile == "local-chat":
        environ["STEP_AUDIO__CHAT__URL"] = chat
    process = subprocess.Popen(
        [*command, "--port", str(port)], env=environ, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + START_S
        while not _ready(f"http://127.0.0.1:{port}/readyz"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"`step-audio serve --profile {profile}` did not start")
            time.sleep(0.2)
        yield process.pid, lambda name: converse(port, name)
    finally:
        process.terminate()
        process.wait(60)


def converse(port: int, name: str) -> Turn:
    """Speak a question at its pace, commit it as a button does, and hear the answer."""
    question = spoken(name)
    with connect(f"ws://127.0.0.1:{port}/v1/realtime", max_size=None) as talk:
        off = {"audio": {"input": {"turn_detection": None}}, "type": "realtime"}
        talk.send(json.dumps({"type": "session.update", "session": off}))
        begun = time.monotonic()
        for at in range(0, len(question), CHUNK):
            time.sleep(max(0.0, begun + (at + CHUNK) / RATE_HZ - time.monotonic()))
            audio = base64.b64encode(float_to_pcm16(question[at : at + CHUNK])).decode()
            talk.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
        ended = time.monotonic()
        talk.send('{"type": "input_audio_buffer.commit"}')
        talk.send('{"type": "response.create"}')
        first_s = total_s = 0.0
        sound: list[bytes] = []
        text = ""
        while True:
            event = json.loads(talk.recv(300))
            if event["type"] == "error":
                raise SystemExit(f"the server says {event['error']}")
            if event["type"] == "response.output_audio.delta":
                total_s = time.monotonic() - ended
                first_s = first_s or total_s
                sound.append(base64.b64decode(event["delta"]))
            if event["type"] == "response.output_audio_transcript.done":
                text += event["transcript"]
            if event["type"] == "response.done":
                break
    pcm: Pcm = np.frombuffer(b"".join(sound), "<i2").astype(np.float32) / np.float32(32768)
    return Turn(name, first_s, total_s, text, pcm)


def _ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process, and of those that it waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """Return the largest resident set that a process had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    line = next(one for one in lines if one.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def judged(turns: list[Turn]) -> float:
    """Return the share of words that Whisper base hears in the answers' sound."""
    from faster_whisper import WhisperModel  # noqa: PLC0415 - after all that is measured

    from step_audio.eval.scores.normalisers import whisper_english  # noqa: PLC0415 - an extra

    model = WhisperModel(
        str(ROOT / "build" / "voices" / "whisper-base"), device="cpu", compute_type="int8"
    )
    found = []
    for turn in turns:
        segments, _ = model.transcribe(resample(turn.sound, RATE_HZ, 16_000), language="en")
        heard = " ".join(segment.text.strip() for segment in segments)
        wrong = error_rate(whisper_english(turn.text), whisper_english(heard))
        found.append(1 - min(1.0, wrong))
    return float(np.mean(found))


def measured(pid: int, ask: Ask, runs: int, questions: tuple[str, ...]) -> tuple[list[Turn], float]:
    """Return all turns of a way and its memory; the first question warms up."""
    ask(questions[0])
    turns = []
    for _ in range(runs):
        for name in questions:
            before = cpu_s(pid)
            turn = ask(name)
            turn.cpu_s = cpu_s(pid) - before
            turns.append(turn)
    return turns, memory_mb(pid)


def row(way: str, turns: list[Turn], memory: float, runs: int) -> dict[str, Any]:
    """Return the figures of a way."""

    def median(values: list[float]) -> float:
        return round(float(np.median(values)), 3)

    sound_s = [len(turn.sound) / RATE_HZ for turn in turns]
    return {
        "bench": "peers",
        "way": way,
        "runs": runs,
        "turns": len(turns),
        "first_s": median([turn.first_s for turn in turns]),
        "first_p95_s": round(float(np.percentile([turn.first_s for turn in turns], 95)), 3),
        "total_s": median([turn.total_s for turn in turns]),
        "sound_s": median(sound_s),
        "cpu_s": median([turn.cpu_s for turn in turns]),
        "memory_mb": round(memory),
        "words_right": round(judged(turns), 3),
        **where_and_when(),
    }


def main() -> None:
    """Measure each way and print its line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--questions", default=",".join(QUESTIONS))
    parser.add_argument("--python", type=Path, default=ROOT / "build" / "peers" / "bin" / "python")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "figures" / "peers.jsonl")
    args = parser.parse_args()
    work = ROOT / "build" / "figures"
    work.mkdir(parents=True, exist_ok=True)
    lines = []
    with chat_server(first_s=0.05, piece_s=0.01) as chat:
        chat.replies = [lambda _: saying(ANSWER)]
        for way in args.ways.split(","):
            started = (
                peer(way, chat.url, work, args.python)
                if way in ("whole", "sentences")
                else ours(way, chat.url)
            )
            with started as (pid, ask):
                turns, memory = measured(pid, ask, args.runs, tuple(args.questions.split(",")))
            lines.append(json.dumps(row(way, turns, memory, args.runs)))
            print(lines[-1], flush=True)
    args.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
