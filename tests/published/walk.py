"""What every walk along the road of the published profiles does: commands, REST, a conversation.

What was typed, asked and answered is kept as a transcript in build/published/.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import soundfile as sf
from websockets.sync.client import connect

from step_audio.core.audio import read_audio
from step_audio.core.vocab import Vocab
from tests.published.conftest import Download
from tests.published.engines import said
from tests.published.standins import SOUND
from tests.talk import append, sound_of, until_done
from tests.tokenizer.golden import GOLDEN
from tests.vllm_server.process import ROOT, free_port

VOCAB = Vocab()
SPEECH = [*VOCAB.ids(SOUND), VOCAB.eot]
RAP = "（RAP）他说有福的人才会多吃亏"
TOOL = "get_current_time"
QUESTION = GOLDEN / "audio" / "zh_3.wav"
KEPT = ROOT / "build" / "published"


class Walk:
    """One profile's road: commands run as processes, everything kept as a transcript."""

    def __init__(self, profile: str, environ: Mapping[str, str], kept: str = "") -> None:
        """Begin a transcript; `kept` is its name, the profile's by default."""
        self.profile, self._kept = profile, kept or profile
        self._environ = {**os.environ, "PYTHONPATH": str(ROOT), **environ}
        KEPT.mkdir(parents=True, exist_ok=True)
        self._path = KEPT / f"{self._kept}.txt"
        self._path.write_text("", encoding="utf-8")

    def note(self, text: str) -> None:
        """Add to the transcript."""
        with self._path.open("a", encoding="utf-8") as out:
            out.write(f"{text}\n")

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run a command and return what it printed."""
        self.note(f"$ step-audio {' '.join(arguments)}")
        done = subprocess.run(
            [sys.executable, "-m", "step_audio", *arguments],
            check=False,
            capture_output=True,
            text=True,
            env=self._environ,
            cwd=ROOT,
            timeout=900,
        )
        printed = done.stdout + done.stderr
        self.note(printed)
        assert done.returncode == code, printed
        return printed

    @contextmanager
    def served(self) -> Iterator[str]:
        """Run `serve` and yield host:port once it is ready."""
        port = free_port()
        command = ["serve", "--profile", self.profile, "--port", str(port)]
        self.note(f"$ step-audio {' '.join(command)}")
        log = KEPT / f"{self._kept}.log"
        with log.open("wb") as out:
            server = subprocess.Popen(
                [sys.executable, "-m", "step_audio", *command],
                env=self._environ,
                cwd=ROOT,
                stdout=out,
                stderr=out,
            )
        try:
            deadline = time.monotonic() + 600
            while not _ready(port):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(60)


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2).is_success
    except httpx.HTTPError:
        return False


def begun(
    profile: str,
    downloaded: Download,
    environ: dict[str, str],
    *,
    kept: str = "",
    understood: bool = True,
    measured: bool = False,
) -> Walk:
    """Walk up to the served profile: what was downloaded is whole and is what it should be.

    Args:
        kept: name of the transcript.
        understood: whether the stand-in writes down what was said in `doctor`'s round trip.
        measured: whether `doctor` also measures the form of prompts.
    """
    folder = downloaded(profile)
    environ["STEP_AUDIO__WEIGHTS"] = str(folder)
    walk = Walk(profile, environ, kept)
    walk.note(f"weights of {profile} from `weights download` on loopback: {folder.name}")
    assert "would run" in walk.run("weights", "inspect", str(folder))
    assert '"voice": "Tingting"' in walk.run("check", "--profile", profile)
    flags = ["--prompts"] if measured else []
    printed = walk.run("doctor", "--profile", profile, *flags, code=int(not understood))
    assert ("log-probability an id" in printed) == measured
    assert ("all that serving needs is there" in printed) == understood
    assert "Spoken round trip" in printed
    assert "built in, the profile's voice" in walk.run("voices", "list", "--profile", profile)
    return walk


def spoken(walk: Walk, address: str, text: str, status: int = 200) -> Any:
    """Ask for speech over REST in the named voice."""
    body = {"model": "x", "input": text, "voice": "Tingting", "response_format": "wav"}
    got = httpx.post(f"http://{address}/v1/audio/speech", json=body, timeout=120)
    walk.note(f"POST /v1/audio/speech {json.dumps(body, ensure_ascii=False)} -> {got.status_code}")
    assert got.status_code == status, got.text
    if status != 200:
        return got.json()["error"]
    sound, rate_hz = sf.read(io.BytesIO(got.content), dtype="float32")
    walk.note(f"{len(sound) / rate_hz:.2f} s of sound")
    assert len(sound) / rate_hz == pytest.approx(len(SOUND) * 0.12, abs=0.1)
    return sound


def transcribed(walk: Walk, address: str, status: int) -> Any:
    """Ask for a transcript over REST."""
    files = {"file": ("q.wav", QUESTION.read_bytes(), "audio/wav")}
    got = httpx.post(
        f"http://{address}/v1/audio/transcriptions", files=files, data={"model": "x"}, timeout=120
    )
    walk.note(f"POST /v1/audio/transcriptions -> {got.status_code} {got.text}")
    assert got.status_code == status, got.text
    return got.json()


def conversed(
    walk: Walk, address: str, style: dict[str, object], **response: object
) -> tuple[list[Any], list[str]]:
    """Ask aloud in a realtime session; return the events of the answer, and the applied wishes.

    Args: `response` is of response.create.
    """
    with connect(f"ws://{address}/v1/realtime?model=x") as socket:
        assert json.loads(socket.recv(30))["type"] == "session.created"
        audio = {"input": {"turn_detection": None}}
        update = {"type": "realtime", "style": style, "audio": audio}
        socket.send(json.dumps({"type": "session.update", "session": update}))
        shown = json.loads(socket.recv(30))
        assert shown["type"] == "session.updated", shown
        applied = shown["session"]["style"]["applied"]
        walk.note(f"session.update style {style} -> applied {applied}")
        pcm, rate_hz = read_audio(QUESTION)
        append(socket, pcm, rate_hz)
        socket.send('{"type": "input_audio_buffer.commit"}')
        socket.send(json.dumps({"type": "response.create", "response": response}))
        events = until_done(socket)
    kinds = list(dict.fromkeys(event["type"] for event in events))
    walk.note("realtime: " + ", ".join(kinds))
    walk.note(f"said: {transcript_of(events)}")
    assert events[-1]["response"]["status"] == "completed", events[-1]
    assert len(sound_of(events)) > 24_000 * 0.5
    return events, applied


def transcript_of(events: list[Any]) -> str:
    return "".join(e["delta"] for e in events if e["type"].endswith("audio_transcript.delta"))


def asked(bodies: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the text of every prompt in requests to an engine."""
    return [said(body["prompt"]) for body in bodies]
