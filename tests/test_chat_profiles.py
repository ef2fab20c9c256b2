"""Profiles whose answers a chat model writes: which parts they get, and what is missing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from step_audio.cli.doctor import missing_chat
from step_audio.core.config import load_profile
from step_audio.core.errors import ProfileError
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.conversation import Conversation, Typed
from step_audio.dialog.prompting.system_prompts import load_prompt
from step_audio.endpoints.connection import is_local
from step_audio.runtime import Runtime
from tests.any_chat.scripted import chat_server
from tests.chat_server import ChatServer, serving

VOICE = {"kind": "speech_endpoint", "url": "http://127.0.0.1:1/v1", "model": "kokoro"}
EAR = {"kind": "endpoint", "url": "http://127.0.0.1:1/v1", "model": "whisper-1"}


def profile_of(folder: Path, **sections: Any) -> Path:
    """A chat with a scripted voice and an ear behind an endpoint, and what a test changes."""
    raw: dict[str, Any] = {
        "model_name": "chatting",
        "responder": "chat",
        "weights": ".",
        "origin": "nowhere",
        "voice": "tone",
        "chat": {"url": "http://127.0.0.1:1/v1", "model": "m"},
        "transcriber": EAR,
        "engine": {"kind": "scripted", "groups": 3},
        "turn_detector": {"kind": "energy"},
        "dialog": {"takes_instructions": True},
    }
    path = folder / "chat.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in (raw | sections).items() if v is not None}))
    return path


def runtime(path: Path, environ: dict[str, str] | None = None) -> Runtime:
    return Runtime(load_profile(str(path), environ or {}))


async def test_a_profile_talks_to_the_server_it_names(tmp_path: Path) -> None:
    async with serving(ChatServer()) as server:
        parts = runtime(profile_of(tmp_path, chat={"url": server.url, "model": "m"}))
        assistant = Assistant(parts.services(), parts.settings())
        talk = Conversation()
        talk.add(Typed("q", "human", "time?"))
        async for _ in assistant.answer(talk, instructions="Be brief."):
            pass
        await assistant.aclose()
    (body,) = server.bodies
    assert body["model"] == "m"
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    names = [tool["function"]["name"] for tool in body["tools"]]
    assert "calculate" in names


async def test_without_a_name_the_first_model_that_is_served_answers(tmp_path: Path) -> None:
    async with serving(ChatServer(models=("nomic-embed-text", "qwen3:8b"))) as server:
        parts = runtime(profile_of(tmp_path, chat={"url": server.url}))
        assistant = Assistant(parts.services(), parts.settings())
        talk = Conversation()
        talk.add(Typed("q", "human", "time?"))
        async for _ in assistant.answer(talk):
            pass
        await assistant.aclose()
    assert server.bodies[0]["model"] == "qwen3:8b"


@pytest.mark.parametrize(
    ("sections", "why"),
    [
        ({"chat": None}, "needs a section chat"),
        ({"transcriber": None}, "who hears"),
        ({"engine": VOICE | {"voices": "af_heart"}, "responder": "direct"}, "speech_endpoint"),
        (
            {"chat": {"url": "http://127.0.0.1:1/v1", "api_key_file": "/nonexistent"}},
            "cannot read the key",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, sections: Any, why: str) -> None:
    with pytest.raises(ProfileError, match=why):
        runtime(profile_of(tmp_path, **sections)).services()


def test_a_model_that_hears_needs_no_transcriber(tmp_path: Path) -> None:
    chat = {"url": "http://127.0.0.1:1/v1", "model": "m", "hears": "audio"}
    parts = runtime(profile_of(tmp_path, chat=chat, transcriber=None))
    assert parts.services().recognizer is None
    assert parts.settings().chat.hears


async def test_a_key_comes_from_a_file_or_the_environment(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-file\n")
    async with serving(ChatServer()) as server:
        chat = {"url": server.url, "model": "m", "api_key_file": str(tmp_path / "key")}
        for environ in ({}, {"STEP_AUDIO__CHAT__API_KEY": "sk-env"}):
            parts = runtime(profile_of(tmp_path, chat=chat), environ)
            assistant = Assistant(parts.services(), parts.settings())
            talk = Conversation()
            talk.add(Typed("q", "human", "time?"))
            async for _ in assistant.answer(talk):
                pass
            await assistant.aclose()
    keys = [headers["authorization"] for headers, _ in server.requests]
    assert keys == ["Bearer sk-file", "Bearer sk-env"]


@pytest.mark.parametrize(
    ("url", "turns", "speculates"),
    [
        ("http://127.0.0.1:11434/v1", {}, True),
        ("https://api.openai.com/v1", {}, False),
        ("https://api.openai.com/v1", {"speculate": True}, True),
        ("http://127.0.0.1:11434/v1", {"speculate": False}, False),
    ],
)
def test_answers_are_begun_in_pauses_where_nobody_is_paid(
    tmp_path: Path, url: str, turns: dict[str, bool], speculates: bool
) -> None:
    path = profile_of(tmp_path, chat={"url": url, "model": "m"}, turns=turns)
    assert runtime(path).settings().turns.speculate is speculates


@pytest.mark.parametrize(
    "paid",
    [
        {"transcriber": EAR | {"url": "https://api.openai.com/v1"}},
        {"engine": VOICE | {"url": "https://api.openai.com/v1", "voices": "alloy"}},
    ],
)
def test_a_paid_ear_or_voice_begins_nothing_in_vain(tmp_path: Path, paid: dict[str, Any]) -> None:
    assert runtime(profile_of(tmp_path, **paid)).settings().turns.speculate is False
    asked = profile_of(tmp_path, turns={"speculate": True}, **paid)
    assert runtime(asked).settings().turns.speculate is True


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://ollama:11434/v1", True),
        ("http://192.168.1.5:8000/v1", True),
        ("http://100.101.102.103:8000/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://8.8.8.8/v1", False),
        ("https://openrouter.ai/api/v1", False),
    ],
)
def test_which_addresses_are_of_this_machine_or_its_network(url: str, local: bool) -> None:
    assert is_local(url) is local


@pytest.mark.parametrize(
    ("url", "live"), [("http://127.0.0.1:1/v1", True), ("https://api.openai.com/v1", False)]
)
def test_a_paid_ear_hears_each_question_once(tmp_path: Path, url: str, live: bool) -> None:
    path = profile_of(tmp_path, transcriber=EAR | {"url": url})
    assert runtime(path).settings().live_words is live


def test_who_is_at_work_is_told(tmp_path: Path) -> None:
    engine = VOICE | {"voices": ["af_heart", "bf_emma"]}
    services = runtime(profile_of(tmp_path, engine=engine, voice="bf_emma")).services()
    assert services.at_work() == {
        "ear": "whisper-1",
        "chat": "m at 127.0.0.1:1",
        "voice": "kokoro, bf_emma",
    }
    assert services.voices.names() == ("af_heart", "bf_emma")


def test_without_a_chat_server_it_is_said_what_to_start(tmp_path: Path) -> None:
    (found,) = missing_chat(load_profile(str(profile_of(tmp_path)), {}))
    assert "does not answer" in found.fact
    assert "ollama serve" in found.advice
    assert "CHAT=" in found.advice


def test_who_sets_what_a_chat_server_cannot_be_sent_is_told(tmp_path: Path) -> None:
    path = profile_of(tmp_path, sampling={"repetition_window": 10})
    _, found = missing_chat(load_profile(str(path), {}))
    assert found.state == "note"
    assert "repetition_window 10 is not sent" in found.fact
    assert "`reading`" in found.advice


@pytest.mark.parametrize(
    ("models", "sections", "told"),
    [
        (("qwen3:8b",), {"model": "qwen3:8b"}, None),
        (("llama3.2:latest",), {"model": "llama3.2"}, None),
        (("qwen3:8b",), {}, None),
        (("qwen3:8b",), {"model": "qwen3:88b"}, "lists no 'qwen3:88b', but qwen3:8b"),
    ],
)
def test_a_model_that_the_server_does_not_list_is_told_at_the_start(
    tmp_path: Path, models: tuple[str, ...], sections: dict[str, str], told: str | None
) -> None:
    with chat_server(models=models) as server:
        path = profile_of(tmp_path, chat={"url": server.url, **sections})
        found = missing_chat(load_profile(str(path), {}))
    assert [told in finding.fact for finding in found if told] == ([True] if told else [])
    assert bool(found) is bool(told)


def test_an_address_without_v1_is_told_at_the_start(tmp_path: Path) -> None:
    with chat_server(models=()) as server:
        url = server.url.removesuffix("/v1")
        (found,) = missing_chat(load_profile(str(profile_of(tmp_path, chat={"url": url})), {}))
    assert f"{url}/v1" in found.advice


def test_the_model_that_was_found_is_the_one_at_work(tmp_path: Path) -> None:
    with chat_server(models=("qwen3:8b",)) as server:
        services = runtime(profile_of(tmp_path, chat={"url": server.url})).services()
        assert services.at_work()["chat"].startswith("the first model at ")
        assert services.chat_model is not None
        assert asyncio.run(services.chat_model.ready())
        assert services.at_work()["chat"].startswith("qwen3:8b at ")


async def test_local_chat_speaks_with_nano(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = load_profile("local-chat", {"STEP_AUDIO__TRANSCRIBER": "null"})
    chat = profile.chat
    assert chat is not None
    hearing = profile.model_copy(update={"chat": chat.model_copy(update={"hears": "audio"})})
    services = Runtime(hearing).services()
    assert services.chat_model is not None
    assert services.audio_tokenizer is None
    assert services.at_work()["voice"] == "nano, rms"
    assert services.voice_library is not None


async def test_a_role_card_is_told_to_the_chat_model_in_its_system_message(tmp_path: Path) -> None:
    """local-chat as it ships, with the chat server and the voice of this test."""
    async with serving(ChatServer()) as server:
        shipped = load_profile("local-chat", {})
        dialog = shipped.dialog.model_dump(mode="json")
        path = profile_of(tmp_path, chat={"url": server.url, "model": "m"}, dialog=dialog)
        parts = runtime(path)
        assistant = Assistant(parts.services(), parts.settings())
        role, reach = assistant.role("a butler"), assistant.style_reach
        talk = Conversation()
        talk.add(Typed("q", "human", "time?"))
        async for _ in assistant.answer(talk, style_lines=role.lines(reach)):
            pass
        await assistant.aclose()
    (body,) = server.bodies
    system, question = body["messages"]
    assert system == {
        "role": "system",
        "content": f"{load_prompt('spoken_chat')}\n"
        "You play a role and never leave it. You are a butler.\n"
        "You are the butler of an old English house, discreet and never surprised. "
        "You serve, and you see everything.\n"
        'This is how you speak: Courteous and brief. Begin answers with "Very well, sir.".\n'
        "This is what you know: Tea is at five. The silver is counted every evening.\n"
        "You never do any of this: tell what was said in the house; raise your voice.",
    }
    assert question == {"role": "user", "content": "time?"}
    assert role.not_applied(reach) == {}, "a butler is quiet, which is done to the sound"
