"""tts-3b, chat-130b and aqaa-130b as they ship, from what `weights download` laid down.

Real HTTP to engines whose answers the tests write. Only addresses are overridden.
"""

from __future__ import annotations

import json
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcp.server import MCPServer

import step_audio
from step_audio.cli import main
from step_audio.core.audio import read_audio, write_wav
from step_audio.core.config import load_profile
from step_audio.core.types import TokenGroup
from step_audio.core.vocab import Vocab
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.conversation import Conversation, UserAudio
from step_audio.dialog.prompting.system_prompts import load_prompt
from step_audio.dialog.prompting.tool_syntax import JsonSchemaSyntax
from step_audio.runtime import Runtime
from tests.fake_vllm import FakeVllm
from tests.fakes import ScriptedEngine
from tests.published.conftest import Download
from tests.published.engines import running, said, words
from tests.tools.loopback import serving

VOCAB = Vocab()
GROUPS = [TokenGroup((n, n + 1), (n, n + 1, n + 2)) for n in range(8)]


@pytest.fixture
def question(tmp_path: Path) -> Path:
    path = tmp_path / "question.wav"
    t = np.arange(24000) / 24000
    write_wav(path, (0.3 * np.sin(2 * np.pi * 220 * t)).astype(np.float32), 24000)
    return path


class Deployed:
    """Shipped profiles on this machine: where their weights and engines are."""

    def __init__(self, downloaded: Download, monkeypatch: pytest.MonkeyPatch) -> None:
        self._downloaded, self.setenv = downloaded, monkeypatch.setenv

    def profile(self, name: str) -> str:
        """Download what a profile needs and point it there; return the name."""
        self.setenv("STEP_AUDIO__WEIGHTS", str(self._downloaded(name)))
        return name


@pytest.fixture
def deployed(downloaded: Download, monkeypatch: pytest.MonkeyPatch) -> Deployed:
    return Deployed(downloaded, monkeypatch)


def asking(question: Path, out: Path, profile: str) -> list[str]:
    return ["ask", str(question), "-o", str(out), "--profile", profile, "--json"]


def speaks(body: dict[str, Any]) -> list[int]:
    return [*VOCAB.ids(GROUPS), VOCAB.eot]


def test_tts_3b_reads_aloud(
    deployed: Deployed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = FakeVllm(speaks, model="step-audio-tts-3b", max_model_len=32768)
    out = tmp_path / "out.wav"
    with running(server):
        deployed.setenv("STEP_AUDIO__ENGINE__URL", server.url)
        name = deployed.profile("tts-3b")
        assert main(["say", "It is noon.", "-o", str(out), "--profile", name]) == 0
    pcm, rate_hz = read_audio(out)
    assert len(pcm) / rate_hz == pytest.approx(len(GROUPS) * 0.12, abs=0.1)
    assert {body["vllm_xargs"]["form"] for body in server.answers} == {"speech"}


def test_tts_3b_has_no_conversations(
    deployed: Deployed,
    tmp_path: Path,
    question: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = str(tmp_path / "out.wav")
    assert main(["ask", str(question), "-o", out, "--profile", deployed.profile("tts-3b")]) == 2
    assert "/v1/audio/speech" in capsys.readouterr().err


def test_chat_130b_writes_with_one_engine_and_speaks_with_the_other(
    deployed: Deployed,
    tmp_path: Path,
    question: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ids = [*words("it is noon. it is noon in paris."), VOCAB.eot]
    writer = FakeVllm(lambda body: ids, model="step-audio-chat", max_model_len=32768)
    reader = FakeVllm(speaks, model="step-audio-tts-3b", max_model_len=32768)
    out = tmp_path / "out.wav"
    with running(writer, reader):
        deployed.setenv("STEP_AUDIO__ENGINE__URL", writer.url)
        deployed.setenv("STEP_AUDIO__SPEECH_ENGINE__URL", reader.url)
        command = asking(question, out, deployed.profile("chat-130b"))
        assert main(command) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["text"] == "it is noon. it is noon in paris."
    assert facts["seconds"] == pytest.approx(2 * len(GROUPS) * 0.12, abs=0.2)
    assert [body["vllm_xargs"]["form"] for body in writer.answers] == ["text"]
    assert [body["vllm_xargs"]["form"] for body in reader.answers] == ["speech"] * 2
    heard = writer.answers[0]["prompt"]
    assert any(map(VOCAB.is_audio, heard)), "the chat model hears the question itself"


def test_aqaa_130b_writes_and_speaks_at_once(
    deployed: Deployed,
    tmp_path: Path,
    question: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ids = [*words("it is noon"), *VOCAB.ids(GROUPS), VOCAB.eot]
    server = FakeVllm(lambda body: ids, model="step-audio-aqaa", max_model_len=32768)
    spare = FakeVllm(lambda body: ids, model="step-audio-aqaa", max_model_len=32768)
    with running(spare):
        pass  # an address where nobody is
    out = tmp_path / "out.wav"
    with running(server):
        deployed.setenv("STEP_AUDIO__ENGINE__URL", f"{spare.url} {server.url}")
        command = asking(question, out, deployed.profile("aqaa-130b"))
        assert main(command) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["text"] == "it is noon"
    assert facts["seconds"] == pytest.approx(len(GROUPS) * 0.12, abs=0.1)


@pytest.mark.parametrize("profile", ["aqaa-130b", "chat-130b"])
def test_a_tool_of_an_mcp_server_is_called_in_the_published_dialect(
    profile: str,
    deployed: Deployed,
    question: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    house = MCPServer("house")

    @house.tool()
    def noon(city: str) -> str:
        """Tell when noon is."""
        return f"it is noon in {city}"

    written = JsonSchemaSyntax().write("noon", '{"city":"paris"}')
    call = words(f"what time is it{written}")
    aqaa = profile == "aqaa-130b"
    sound = VOCAB.ids(GROUPS) if aqaa else []
    replies = [[*call, VOCAB.eot], [*words("it is noon"), *sound, VOCAB.eot]]
    model = "step-audio-aqaa" if aqaa else "step-audio-chat"
    writer = FakeVllm(lambda body: replies.pop(0), model=model, max_model_len=32768)
    reader = FakeVllm(speaks, model="step-audio-tts-3b", max_model_len=32768)
    out = question.with_name("out.wav")
    with running(writer, reader), serving(house.streamable_http_app()) as address:
        deployed.setenv("STEP_AUDIO__ENGINE__URL", writer.url)
        if not aqaa:
            deployed.setenv("STEP_AUDIO__SPEECH_ENGINE__URL", reader.url)
        deployed.setenv("STEP_AUDIO__TOOLS__MCP__HOUSE__URL", f"{address}/mcp")
        command = asking(question, out, deployed.profile(profile))
        assert main(command) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["calls"] == [{"name": "noon", "arguments": '{"city":"paris"}'}]
    assert facts["text"] == "what time is it it is noon"
    second = said(writer.answers[1]["prompt"])
    assert '{"city":"paris"}</tool_call>input\n' in second
    assert "it is noon in paris" in second


def test_the_command_of_a_server_is_printed(
    deployed: Deployed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--tp", "8", "--quantization", "fp8", "--dry-run"]
    deployed.setenv("STEP_AUDIO__WEIGHTS", str(tmp_path / "none"))
    assert main(["engine", "--profile", "aqaa-130b", *flags]) == 0
    printed = capsys.readouterr().out
    assert "vllm serve" in printed
    assert "--served-model-name step-audio-aqaa --host 127.0.0.1 --port 8000" in printed
    assert main(["engine", "--profile", "chat-130b", "--speech", "--dry-run"]) == 0
    assert "speech_lm --served-model-name step-audio-tts-3b" in capsys.readouterr().out


def test_a_server_needs_a_model_a_split_and_a_program(
    deployed: Deployed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deployed.profile("aqaa-130b")
    assert main(["engine", "--profile", "aqaa-130b", "--weights", str(tmp_path)]) == 2
    assert "no config.json" in capsys.readouterr().err
    assert main(["engine", "--profile", "aqaa-130b", "--tp", "3"]) == 2
    assert "--tp may be 1, 2" in capsys.readouterr().err
    assert main(["engine", "--profile", "aqaa-130b", "--vllm", "no-such-program"]) == 2
    assert "vllm==0.24.0" in capsys.readouterr().err


def test_an_exported_model_is_whole(deployed: Deployed, tmp_path: Path) -> None:
    out = tmp_path / "lm"
    name = deployed.profile("aqaa-130b")
    assert main(["export", str(out), "--profile", name, "--precision", "float32"]) == 0
    config = json.loads((out / "config.json").read_text())
    assert config["model_type"] == "step1"
    assert (out / "model.safetensors").stat().st_size > 4 * 64 * VOCAB.size


@pytest.mark.parametrize("name", ["tts-3b", "chat-130b", "aqaa-130b"])
def test_no_prompt_made_for_nano_reaches_a_published_model(name: str) -> None:
    dialog = load_profile(name).dialog
    made_for_nano = {"answer", "read", "transcribe"}
    asked = {dialog.answer_prompt, dialog.read_prompt, dialog.transcribe_prompt}
    assert not asked & made_for_nano
    assert dialog.takes_examples, "texts are asked for by the published reading prompts"


def test_every_prompt_says_whose_it_is() -> None:
    folder = Path(step_audio.__file__).parent / "prompts"
    origin = (folder / "ORIGIN.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in origin.splitlines() if line.startswith("|")]
    named = {name.strip() for row in rows for name in row.split(",")}
    prompts = {path.stem for path in folder.glob("*.txt")}
    assert not [name for name in prompts if not any(fnmatch(name, one) for one in named)]


async def test_the_chat_model_is_asked_with_the_published_prompts(downloaded: Download) -> None:
    """Until its ids reach the engine: answer and transcript, text after the newline of a role."""
    profile = load_profile("chat-130b")
    shipped = Runtime(profile.model_copy(update={"weights": downloaded("chat-130b")}))
    ears = ScriptedEngine([words("it is noon")])
    services = replace(shipped.services(), engine=ears, speech_engine=ScriptedEngine([[VOCAB.eot]]))
    assistant = Assistant(services, shipped.settings())
    try:
        heard = await assistant.words(UserAudio("recording", tuple(GROUPS)))
        assert heard.text == "it is noon"
        conversation = Conversation()
        conversation.add(UserAudio("q", tuple(GROUPS)))
        async for _ in assistant.answer(conversation, aloud=False):
            pass
    finally:
        await assistant.aclose()
    sound = [*words("human\n"), *VOCAB.ids(GROUPS), VOCAB.eot, VOCAB.bot, *words("assistant\n")]
    asked = ("chat_transcribe", "chat_answer_styled")
    for request, prompt in zip(ears.requests, asked, strict=True):
        system = [1, VOCAB.bot, *words(f"system\n{load_prompt(prompt)}"), VOCAB.eot]
        tools = list(request.prompt)[len(system) : -len(sound) - 1]
        assert list(request.prompt[: len(system)]) == system
        assert list(request.prompt[-len(sound) - 1 :]) == [VOCAB.bot, *sound]
        assert (prompt == "chat_transcribe") == (not tools), "nothing but the sound to write down"
