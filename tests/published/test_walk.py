"""The whole road of somebody with cards, walked on stand-ins: nothing overridden but addresses.

Download, check, doctor, serve as a process of its own, `say`, speech over REST in the named voice,
a rap, a realtime conversation with a tool and a style, a transcript. The engines are HTTP servers
whose ids are written here; with `build/vllm` (make test-vllm makes it) a real vLLM on the CPU reads
the same folders. Run: make test-published; what was typed and printed is in build/published/.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile as sf
from websockets.sync.client import connect

from step_audio.core.audio import read_audio
from step_audio.core.types import TokenGroup
from step_audio.core.vocab import Vocab
from step_audio.dialog.prompting.system_prompts import load_prompt
from step_audio.dialog.prompting.tool_syntax import JsonSchemaSyntax
from tests.fake_vllm import FakeVllm
from tests.published.conftest import Download
from tests.published.engines import running, said, words
from tests.published.standins import RECORDINGS, listing
from tests.talk import answer, append, sound_of
from tests.tokenizer.golden import GOLDEN
from tests.vllm_server.process import ROOT, VLLM, VllmProcess, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

VOCAB = Vocab()
GROUPS = [TokenGroup((n, n + 1), (n, n + 1, n + 2)) for n in range(8)]
SPEECH = [*VOCAB.ids(GROUPS), VOCAB.eot]
RAP = "（RAP）他说有福的人才会多吃亏"
TOOL = "get_current_time"
KEPT = ROOT / "build" / "published"


class Walk:
    """One profile's road: commands run as processes, everything kept as a transcript."""

    def __init__(self, profile: str, environ: Mapping[str, str]) -> None:
        self.profile = profile
        self._environ = {**os.environ, "PYTHONPATH": str(ROOT), **environ}
        KEPT.mkdir(parents=True, exist_ok=True)
        self._path = KEPT / f"{profile}.txt"
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
            timeout=300,
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
        log = KEPT / f"{self.profile}.log"
        with log.open("wb") as out:
            server = subprocess.Popen(
                [sys.executable, "-m", "step_audio", *command],
                env=self._environ,
                cwd=ROOT,
                stdout=out,
                stderr=out,
            )
        try:
            deadline = time.monotonic() + 120
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


@pytest.fixture
def environ(downloaded: Download, tmp_path: Path) -> dict[str, str]:
    """Where things are on this machine; filled by each walk."""
    return {"STEP_AUDIO__SERVER__PORT": str(free_port()), "HOME": str(tmp_path)}


def begun(profile: str, downloaded: Download, environ: dict[str, str]) -> Walk:
    """Walk up to the served profile: what was downloaded is whole and is what it should be."""
    folder = downloaded(profile)
    environ["STEP_AUDIO__WEIGHTS"] = str(folder)
    walk = Walk(profile, environ)
    walk.note(f"weights of {profile} from `weights download` on loopback: {folder.name}")
    assert "would run" in walk.run("weights", "inspect", str(folder))
    assert '"voice": "Tingting"' in walk.run("check", "--profile", profile)
    printed = walk.run("doctor", "--profile", profile)
    assert "all that serving needs is there" in printed
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
    assert len(sound) / rate_hz == pytest.approx(len(GROUPS) * 0.12, abs=0.1)
    return sound


def transcribed(walk: Walk, address: str, status: int) -> Any:
    """Ask for a transcript over REST."""
    files = {"file": ("q.wav", (GOLDEN / "audio" / "zh_3.wav").read_bytes(), "audio/wav")}
    got = httpx.post(
        f"http://{address}/v1/audio/transcriptions", files=files, data={"model": "x"}, timeout=120
    )
    walk.note(f"POST /v1/audio/transcriptions -> {got.status_code} {got.text}")
    assert got.status_code == status, got.text
    return got.json()


def conversed(walk: Walk, address: str, style: dict[str, object]) -> tuple[list[Any], list[str]]:
    """Hold a realtime conversation; return the events of its answer, and the applied wishes."""
    with connect(f"ws://{address}/v1/realtime?model=x") as socket:
        assert json.loads(socket.recv(30))["type"] == "session.created"
        audio = {"input": {"turn_detection": None}}
        update = {"type": "realtime", "style": style, "audio": audio}
        socket.send(json.dumps({"type": "session.update", "session": update}))
        shown = json.loads(socket.recv(30))
        assert shown["type"] == "session.updated", shown
        applied = shown["session"]["style"]["applied"]
        walk.note(f"session.update style {style} -> applied {applied}")
        pcm, rate_hz = read_audio(GOLDEN / "audio" / "zh_3.wav")
        append(socket, pcm, rate_hz)
        events = answer(socket)
    kinds = list(dict.fromkeys(event["type"] for event in events))
    walk.note("realtime: " + ", ".join(kinds))
    assert events[-1]["response"]["status"] == "completed", events[-1]
    assert len(sound_of(events)) > 24_000 * 0.5
    return events, applied


def transcript_of(events: list[Any]) -> str:
    return "".join(e["delta"] for e in events if e["type"].endswith("audio_transcript.delta"))


def asked(engine: FakeVllm) -> list[str]:
    """Return the text of every prompt that an engine was asked."""
    return [said(body["prompt"]) for body in engine.answers]


def test_tts_3b(downloaded: Download, environ: dict[str, str]) -> None:
    engine = FakeVllm(lambda body: SPEECH, model="step-audio-tts-3b", max_model_len=32768)
    with running(engine):
        environ["STEP_AUDIO__ENGINE__URL"] = engine.url
        walk = begun("tts-3b", downloaded, environ)
        out = environ["HOME"] + "/out.wav"
        walk.run("say", "(高兴1)(快速1)今天天气真的很好。", "-o", out, "--profile", "tts-3b")
        assert asked(engine)[-1].endswith("human\n(高兴1)(快速1)今天天气真的很好。 assistant\n")
        walk.run("say", RAP, "-o", out, "--profile", "tts-3b")
        with walk.served() as address:
            plain = spoken(walk, address, "今天天气真的很好。")
            assert "使用[Tingting]的声音" in asked(engine)[-1]
            sung = spoken(walk, address, RAP)
            assert load_prompt("tts_rap") in asked(engine)[-1]
            assert RECORDINGS["TingtingRAP"][0] in asked(engine)[-1]
            assert len(plain) == len(sung)
            assert np.abs(plain - sung).max() > 1e-3, "another vocoder spoke it"
            assert transcribed(walk, address, 501)["error"]["code"] == "transcription_unsupported"


def test_chat_130b(downloaded: Download, environ: dict[str, str]) -> None:
    call = JsonSchemaSyntax().write(TOOL, '{"timezone":"Europe/Paris"}')
    replies = {
        "请记录下": "今天天气真的很好",
        "input\n": "（快速）现在是中午。(RAP)好吗？",
        "": f"让我看看。{call}",
    }

    def writes(body: dict[str, Any]) -> list[int]:
        prompt = said(body["prompt"])
        reply = next(text for known, text in replies.items() if known in prompt)
        return [*words(reply), VOCAB.eot]

    chat = FakeVllm(writes, model="step-audio-chat", max_model_len=32768)
    reader = FakeVllm(lambda body: SPEECH, model="step-audio-tts-3b", max_model_len=32768)
    with running(chat, reader):
        environ["STEP_AUDIO__ENGINE__URL"] = chat.url
        environ["STEP_AUDIO__SPEECH_ENGINE__URL"] = reader.url
        folder = downloaded("chat-130b")
        environ["STEP_AUDIO__WEIGHTS"] = str(folder)
        walk = Walk("chat-130b", environ)
        # The stand-in hears the same words whatever is said: half of the round trip differs.
        walk.run("check", "--profile", "chat-130b")
        assert "Spoken round trip (zh)" in walk.run("doctor", "--profile", "chat-130b", code=1)
        with walk.served() as address:
            spoken(walk, address, RAP)
            assert transcribed(walk, address, 200)["text"] == "今天天气真的很好"
            before = len(reader.answers)
            style: dict[str, object] = {"emotion": "happy", "dialect": "四川话", "speed": 2}
            events, applied = conversed(walk, address, style)
    assert applied == ["emotion", "dialect", "speed"]
    assert transcript_of(events) == "让我看看。现在是中午。好吗？"
    door = [text.rpartition("human\n")[2] for text in asked(reader)[before:]]
    assert door == [
        "(高兴1)(四川话)(慢速1)让我看看。 assistant\n",
        "(高兴1)(四川话)(快速1)现在是中午。 assistant\n",
        "(RAP)好吗？ assistant\n",
    ]
    assert f"{call}input\n" in asked(chat)[-1]
    assert load_prompt("chat_answer_styled") in asked(chat)[-1]


def test_aqaa_130b(downloaded: Download, environ: dict[str, str]) -> None:
    call = JsonSchemaSyntax().write(TOOL, '{"timezone":"Europe/Paris"}')

    def writes(body: dict[str, Any]) -> list[int]:
        if body["vllm_xargs"]["form"] == "speech":
            return SPEECH
        text = "现在是中午。" if "input\n" in said(body["prompt"]) else f"让我看看。{call}"
        sound = [VOCAB.size, *VOCAB.ids(GROUPS), VOCAB.size + 1]  # <audio_start>, <audio_end>
        return [*words(text), *sound, 2]

    engine = FakeVllm(writes, model="step-audio-aqaa", max_model_len=32768)
    with running(engine):
        environ["STEP_AUDIO__ENGINE__URL"] = engine.url
        walk = begun("aqaa-130b", downloaded, environ)
        with walk.served() as address:
            events, applied = conversed(walk, address, {"emotion": "happy", "loudness": 4})
            assert transcribed(walk, address, 501)["error"]["code"] == "transcription_unsupported"
            assert spoken(walk, address, RAP, status=400)["code"] == "singing_unsupported"
    assert applied == ["emotion", "loudness"]
    assert transcript_of(events) == "让我看看。现在是中午。"
    stops = {tuple(body["stop_token_ids"]) for body in engine.answers}
    assert stops == {(2, 3)}


@pytest.mark.vllm
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not VLLM.exists(), reason="no build/vllm: make test-vllm makes it")
@pytest.mark.parametrize(("profile", "folder"), [("tts-3b", "lm"), ("aqaa-130b", "language_model")])
def test_a_real_vllm_reads_what_was_downloaded(
    downloaded: Download, environ: dict[str, str], tmp_path: Path, profile: str, folder: str
) -> None:
    weights = downloaded(profile)
    shipped = ROOT / "step_audio" / "profiles" / f"{profile}.yaml"
    server = VllmProcess(weights / folder, shipped, tmp_path / "vllm.log")
    server.start()
    try:
        environ["STEP_AUDIO__WEIGHTS"] = str(weights)
        environ["STEP_AUDIO__ENGINE__URL"] = server.url
        walk = Walk(f"{profile}", environ)
        out = environ["HOME"] + "/out.wav"
        walk.run("say", "今天。", "-o", out, "--profile", profile)
        pcm, rate_hz = read_audio(Path(out))
        assert len(pcm) / rate_hz > 0.1
        # Weights are random, and so is the length of what is spoken: tts-3b's is found wrong.
        wrong = profile == "tts-3b"
        told = walk.run("doctor", "--profile", profile, "--prompts", code=int(wrong))
        assert f"Engine: {server.url} answers" in told
        assert "Spoken round trip" in told
        assert told.count("WRONG") == wrong
    finally:
        server.kill()


def test_the_list_of_recordings_is_the_one_thing_that_stands_in(tmp_path: Path) -> None:
    """The real digests are those of recordings that we may not ship."""
    made = json.loads(listing(tmp_path / "list.json").read_text())
    shipped = json.loads((ROOT / "step_audio" / "published" / "speakers.json").read_text())
    assert made["commit"] == shipped["commit"]
    assert made["speakers"].keys() == shipped["speakers"].keys()
    paths = [{s: f["path"] for s, f in m["speakers"]["Tingting"].items()} for m in (made, shipped)]
    assert paths[0] == paths[1]
