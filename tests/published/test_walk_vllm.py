"""The same road with a real vLLM on the CPU, started by `step-audio engine` on what was downloaded.

The stand-ins say one fixed answer each (standins.py), so what reached which model, and what it
answered, is known. A relay between gateway and engine notes the requests. One engine is started
after the other; the one of Step-Audio-TTS-3B reads for two profiles. Needs build/vllm.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from step_audio.dialog.prompting.system_prompts import load_prompt
from step_audio.dialog.prompting.tool_syntax import JsonSchemaSyntax
from tests.published.conftest import Download
from tests.published.standins import RECORDINGS, SAID
from tests.published.walk import (
    RAP,
    TOOL,
    asked,
    begun,
    conversed,
    spoken,
    transcribed,
    transcript_of,
)
from tests.vllm_server.process import ROOT, VLLM, VllmProcess
from tests.vllm_server.weather import Relay

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not VLLM.exists(), reason="no build/vllm: make test-vllm makes it"),
]

SENTENCE = "今天天气真的很好。"
SHOWN = SAID.rpartition("）")[2]
CALLED = {"tool_choice": "required"}
OPENING = JsonSchemaSyntax().open_call(None)
"""With which the turn of a model begins that has to call a tool. The stand-in goes on with its one
answer: a tool of that name is not there, which is told to it as a result."""


@contextmanager
def engine(profile: str, folder: Path, log: Path) -> Iterator[Relay]:
    """Run `step-audio engine` for a shipped profile behind a relay."""
    server = VllmProcess(folder, ROOT / "step_audio" / "profiles" / f"{profile}.yaml", log)
    server.start()
    relay = Relay(server.port)
    try:
        yield relay
    finally:
        relay.close()
        server.kill()


def answers(relay: Relay) -> list[dict[str, Any]]:
    """Return the requests whose answers were streamed."""
    bodies = [json.loads(body) for body in relay.bodies]
    return [body for body in bodies if body.get("stream")]


@pytest.fixture(scope="module")
def reader(downloaded: Download, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """Step-Audio-TTS-3B's stand-in."""
    log = tmp_path_factory.mktemp("reader") / "vllm.log"
    with engine("tts-3b", downloaded("tts-3b") / "lm", log) as relay:
        yield relay


def test_aqaa_130b(downloaded: Download, environ: dict[str, str], tmp_path: Path) -> None:
    name, folder = "aqaa-130b", downloaded("aqaa-130b")
    with engine(name, folder / "language_model", tmp_path / "vllm.log") as relay:
        environ["STEP_AUDIO__ENGINE__URL"] = relay.url
        walk = begun(name, downloaded, environ, kept=f"{name}-vllm")
        walk.run("engine", "--profile", name, "--dry-run")
        walk.run("say", SENTENCE, "-o", environ["HOME"] + "/out.wav", "--profile", name)
        assert answers(relay)[-1]["vllm_xargs"]["form"] == "speech"
        with walk.served() as address:
            spoken(walk, address, SENTENCE)
            assert spoken(walk, address, RAP, status=400)["code"] == "singing_unsupported"
            assert transcribed(walk, address, 501)["error"]["code"] == "transcription_unsupported"
            events, applied = conversed(walk, address, {"emotion": "happy", "loudness": 4})
            assert transcript_of(events) == SHOWN
            begin = len(answers(relay))
            events, _ = conversed(walk, address, {}, **CALLED)
    assert applied == ["emotion", "loudness"]
    assert transcript_of(events) == SHOWN
    called, told = asked(answers(relay)[begin:])
    assert called.endswith(OPENING)
    assert TOOL in called.partition("tool_json_schemas\n")[2].partition("human\n")[0]
    assert "unknown tool" in told.rpartition("input\n")[2]
    assert not told.endswith(OPENING)


def test_tts_3b(downloaded: Download, environ: dict[str, str], reader: Relay) -> None:
    name = "tts-3b"
    environ["STEP_AUDIO__ENGINE__URL"] = reader.url
    walk = begun(name, downloaded, environ, kept=f"{name}-vllm", measured=True)
    walk.run("engine", "--profile", name, "--dry-run")
    out = environ["HOME"] + "/out.wav"
    walk.run("say", f"(高兴1)(快速1){SENTENCE}", "-o", out, "--profile", name)
    assert asked(answers(reader))[-1].endswith(f"human\n(高兴1)(快速1){SENTENCE} assistant\n")
    walk.run("say", RAP, "-o", out, "--profile", name)
    with walk.served() as address:
        plain = spoken(walk, address, SENTENCE)
        assert "使用[Tingting]的声音" in asked(answers(reader))[-1]
        sung = spoken(walk, address, RAP)
        assert load_prompt("tts_rap") in asked(answers(reader))[-1]
        assert RECORDINGS["TingtingRAP"][0] in asked(answers(reader))[-1]
        assert len(plain) == len(sung)
        assert np.abs(plain - sung).max() > 1e-3, "another vocoder spoke it"
        assert transcribed(walk, address, 501)["error"]["code"] == "transcription_unsupported"


def test_chat_130b(
    downloaded: Download, environ: dict[str, str], reader: Relay, tmp_path: Path
) -> None:
    name, folder = "chat-130b", downloaded("chat-130b")
    with engine(name, folder / "lm", tmp_path / "vllm.log") as chat:
        environ["STEP_AUDIO__ENGINE__URL"] = chat.url
        environ["STEP_AUDIO__SPEECH_ENGINE__URL"] = reader.url
        walk = begun(
            name, downloaded, environ, kept=f"{name}-vllm", understood=False, measured=True
        )
        walk.run("engine", "--profile", name, "--dry-run")
        walk.run("engine", "--profile", name, "--speech", "--dry-run")
        walk.run("say", SENTENCE, "-o", environ["HOME"] + "/out.wav", "--profile", name)
        with walk.served() as address:
            spoken(walk, address, RAP)
            assert load_prompt("tts_rap") in asked(answers(reader))[-1]
            assert transcribed(walk, address, 200)["text"] == SAID
            assert load_prompt("chat_transcribe") in asked(answers(chat))[-1]
            before = len(answers(reader))
            style: dict[str, object] = {"emotion": "happy", "dialect": "四川话", "speed": 2}
            events, applied = conversed(walk, address, style)
            assert transcript_of(events) == SHOWN
            (door,) = asked(answers(reader))[before:]
            begin = len(answers(chat))
            events, _ = conversed(walk, address, {}, **CALLED)
    assert applied == ["emotion", "dialect", "speed"]
    # What the model wrote itself, "（快速）", goes before the speed that was asked for.
    assert door.endswith(f"human\n(高兴1)(四川话)(快速1){SHOWN} assistant\n")
    assert transcript_of(events) == SHOWN
    called, told = asked(answers(chat)[begin:])[:2]
    assert called.endswith(OPENING)
    assert load_prompt("chat_answer_styled") in called
    assert "unknown tool" in told.rpartition("input\n")[2]
    assert not told.endswith(OPENING)
