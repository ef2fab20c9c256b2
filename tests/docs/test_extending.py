"""The examples of docs/extending.md, run in a server as they stand in the page."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from starlette.testclient import TestClient

from server.app import create_app
from step_audio.core.config import load_profile
from step_audio.core.errors import ToolError
from step_audio.core.types import ToolCall
from step_audio.dialog.assistant import Assistant
from step_audio.runtime import Runtime
from tests.docs.tables import DOCS
from tests.fakes import InProcessDecoder, ScriptedEngine, services, text_ids
from tests.sound_files import a_tone_of

TOOL = 8  # the id that opens a call in the vocabulary of the fakes
PAGE = (DOCS / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    """Return the names that the page's Python defines."""
    names: dict[str, Any] = {}
    for language, code in BLOCKS:
        if language == "python":
            exec(compile(code, "docs/extending.md", "exec"), names)
    return names


def serving(engine: ScriptedEngine, **parts: Any) -> TestClient:
    made = replace(services(engine), sound_decoder=InProcessDecoder(), **parts)
    return TestClient(create_app(Assistant(made)), base_url="http://localhost")


def test_the_tool_is_called_and_its_result_told(shown: dict[str, Any]) -> None:
    call = [TOOL, *text_ids('throw_dice {"sides":6}')]
    engine = ScriptedEngine([call, text_ids("There you are.")])
    asked = {"messages": [{"role": "user", "content": "Throw a die."}]}
    with serving(engine, tools=shown["Dice"]()) as client:
        answer = client.post("/v1/chat/completions", json=asked)
    assert answer.json()["choices"][0]["message"]["content"] == "There you are."
    told = services(engine).text_tokenizer.encode('{"thrown": ')[1:]
    prompt = list(engine.requests[1].prompt)
    assert any(prompt[at : at + len(told)] == told for at in range(len(prompt)))


async def test_the_tool_says_what_is_wrong(shown: dict[str, Any]) -> None:
    box = shown["Dice"]()
    for arguments in ("{}", '{"sides": "many"}', '{"sides": 0}', "no json"):
        with pytest.raises(ToolError, match="whole number"):
            await box.call(ToolCall("1", "throw_dice", arguments))
    thrown = json.loads((await box.call(ToolCall("1", "throw_dice", '{"sides":2}'))).output)
    assert thrown["thrown"] in (1, 2)


def test_the_ear_is_asked(shown: dict[str, Any]) -> None:
    with serving(ScriptedEngine([[]]), recognizer=shown["Stopwatch"]()) as client:
        sound = {"file": ("a.wav", a_tone_of("wav", 2.0))}
        heard = client.post("/v1/audio/transcriptions", files=sound)
    assert heard.json()["text"] == "that took 2.0 seconds"


def test_the_voice_reads_aloud(shown: dict[str, Any]) -> None:
    with serving(ScriptedEngine([[]]), speech_model=shown["Beeper"]()) as client:
        body = {"input": "Hello over there.", "voice": "alloy", "response_format": "wav"}
        said = client.post("/v1/audio/speech", json=body)
    sound, rate_hz = sf.read(io.BytesIO(said.content))
    assert len(sound) / rate_hz == pytest.approx(0.3, abs=0.05)
    assert 0.1 < float(np.abs(sound).max()) < 0.3


def test_the_profile_serves(tmp_path: Path) -> None:
    (text,) = (code for language, code in BLOCKS if language == "yaml")
    path = tmp_path / "parrot.yaml"
    path.write_text(text)
    parts = Runtime(load_profile(str(path), environ={}))
    asked = {"messages": [{"role": "user", "content": "Hello."}]}
    app = create_app(Assistant(parts.services(), parts.settings()))
    with TestClient(app, base_url="http://localhost") as client:
        answer = client.post("/v1/chat/completions", json=asked).json()
    assert answer["choices"][0]["message"]["content"] == "Polly wants a cracker."
    assert client.app is app
