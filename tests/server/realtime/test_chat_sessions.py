"""Realtime sessions whose answers a chat model writes: turns, interruptions, tools, measures."""

from __future__ import annotations

import itertools
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from server.observability.metrics import Metrics
from server.realtime.session.send_queue import SOUND
from step_audio.core.chat import ChatMessage, ChatModel
from step_audio.core.errors import EngineLost
from step_audio.core.types import Reasoning, TextDelta, ToolCall
from step_audio.dialog.settings import DialogSettings, TurnSettings
from step_audio.endpoints.chat import ChatCompletions
from step_audio.endpoints.connection import Endpoint
from tests.any_chat.scripted import chat_server
from tests.chat_server import saying
from tests.fakes import (
    VOCAB,
    FixedClock,
    ScriptedChat,
    ScriptedEngine,
    ScriptedRecognizer,
    group,
)
from tests.server.conftest import Connect
from tests.server.wire import Talk, kinds, talking
from tokenizer.vad import EnergyTurnDetector

ROOT = Path(__file__).parents[3]
WORDS = [f"word{n}" for n in range(60)]
SETTINGS = DialogSettings(
    responder="chat", takes_instructions=True, turns=TurnSettings(speculate=True)
)
DOOR = {"type": "function", "name": "open_door", "description": "", "parameters": {}}
KIND = "conversation.item.input_audio_transcription"


def chatting(connect: Connect, chat: ChatModel, groups: int = 5, **parts: Any) -> TestClient:
    reader = ScriptedEngine([VOCAB.ids([group(n) for n in range(groups)])])
    parts = {"dialog": SETTINGS, "recognizer": ScriptedRecognizer(WORDS)} | parts
    return connect(engine=reader, chat=chat, detector=EnergyTurnDetector(), **parts)


def ask(talk: Talk, seconds: float = 2.0) -> None:
    talk.hear(0.3)
    talk.hear(seconds, 0.3)
    talk.hear(0.7)


def configured(talk: Talk, **session: Any) -> None:
    transcription = {"input": {"transcription": {"model": "any"}}}
    talk.send("session.update", session={"type": "realtime", "audio": transcription, **session})
    talk.until("session.updated")


def test_a_spoken_turn_with_its_words_before_its_answer(connect: Connect) -> None:
    chat = ScriptedChat([[TextDelta("It is noon.")]])
    with talking(chatting(connect, chat)) as talk:
        configured(talk, instructions="Be brief.")
        ask(talk)
        events = talk.until("response.done")
    told = kinds(events)
    assert told.index(f"{KIND}.completed") < told.index("response.output_audio_transcript.delta")
    heard = next(e for e in events if e["type"] == f"{KIND}.completed")
    assert heard["transcript"].split() == WORDS[: len(heard["transcript"].split())]
    assert (
        "".join(e["delta"] for e in events if e["type"] == f"{KIND}.delta") == heard["transcript"]
    )
    assert SOUND in told
    assert events[-1]["response"]["status"] == "completed"
    assert chat.requests[0].messages == (
        ChatMessage("system", "Be brief."),
        ChatMessage("user", heard["transcript"]),
    )


def test_the_history_stays_true_after_interruptions(connect: Connect) -> None:
    """Sixteen turns, three of them interrupted: what the chat server is sent is what was heard.

    Two answers are cut by the client, as the stock clients do it when speech starts, one by the
    server, which is still receiving it. The chat server is a real one, and docs/chat-servers.md
    shows what it got.
    """
    clock, ear = FixedClock(), ScriptedRecognizer(["question"])
    settings = DialogSettings(responder="chat", turns=TurnSettings(speculate=False))
    with chat_server(first_s=0.0, piece_s=0.0) as server, ExitStack() as stack:
        count = itertools.count()
        server.replies = [lambda _: saying(f"Answer {next(count)} begins here. And it ends.")]
        chat = ChatCompletions(Endpoint(server.url), "m")
        parts = {"clock": clock, "recognizer": ear, "dialog": settings}
        talk = stack.enter_context(talking(chatting(connect, chat, groups=10, **parts)))
        configured(talk)
        for turn in range(16):
            server.piece_s = 0.3 if turn == 12 else 0.0  # a word at a time
            ask(talk, 1.0)
            if turn == 12:
                talk.until(SOUND)
                clock.now += 0.6
                talk.hear(0.5, 0.3)
                assert talk.until("response.done")[-1]["response"]["status"] == "cancelled"
                server.piece_s = 0.0
                talk.hear(0.7)  # what was said into it is a question of its own
            done = talk.until("response.done")[-1]["response"]
            assert done["status"] == "completed"
            if turn in (2, 7):
                item = done["output"][0]["id"]
                talk.hear(0.5, 0.3)
                where = {"item_id": item, "content_index": 0, "audio_end_ms": 1800}
                talk.send("conversation.item.truncate", **where)
                talk.hear(0.7)
                talk.until("response.done")
            clock.now += 5
        sent = server.bodies[-1]["messages"]
        assert server.aborted == 1
    assert [m["role"] for m in sent] == ["system", *["user", "assistant"] * 18, "user"]
    said = [message["content"] for message in sent if message["role"] == "assistant"]
    cut = {n: text for n, text in enumerate(said) if not text.endswith("begins here. And it ends.")}
    assert cut == {2: "Answer 2 begins here. And", 8: "Answer 8 begins here. And", 14: "Answer 14"}
    assert all(text.startswith(f"Answer {n}") for n, text in enumerate(said))
    shown = [json.dumps(message) for message in sent]
    page = (ROOT / "docs" / "chat-servers.md").read_text(encoding="utf-8")
    excerpt = [line.strip() for line in page.splitlines() if line.startswith('    {"role"')]
    assert excerpt == [*shown[5:8], *shown[17:20], *shown[29:32]], "\n".join(shown)


def test_an_early_answer_that_was_in_vain_is_counted(connect: Connect) -> None:
    chat, metrics = ScriptedChat([[TextDelta("It is noon.")]]), Metrics()
    with talking(chatting(connect, chat, metrics=metrics)) as talk:
        configured(talk)
        talk.hear(0.3)
        talk.hear(1.0, 0.3)
        talk.hear(0.34)
        talk.hear(1.0, 0.3)
        talk.hear(0.7)
        talk.until("response.done")
    text = metrics.text().decode()
    assert 'step_audio_speculations_total{end="discarded"} 1.0' in text
    assert 'step_audio_speculations_total{end="committed"} 1.0' in text
    kind = "step_audio_speculation_wasted_ids_total"
    wasted = next(line for line in text.splitlines() if line.startswith(kind))
    assert float(wasted.split()[1]) > 0
    assert "step_audio_recognition_wait_seconds_count" in text


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize(
    ("said", "answered"), [("what is twelve", True), ("what is twelve plus", False)]
)
def test_semantic_vad_listens_to_the_words_also_where_no_answer_is_begun_early(
    connect: Connect, said: str, early: bool, answered: bool
) -> None:
    chat = ScriptedChat([[TextDelta("Noon.")]])
    settings = DialogSettings(responder="chat", turns=TurnSettings(speculate=early))
    ear = ScriptedRecognizer(said.split())
    with talking(chatting(connect, chat, dialog=settings, recognizer=ear)) as talk:
        detection = {"type": "semantic_vad", "eagerness": "auto"}
        audio = {"input": {"turn_detection": detection}}
        talk.send("session.update", session={"type": "realtime", "audio": audio})
        talk.until("session.updated")
        talk.hear(0.3)
        talk.hear(1.0, 0.3)
        talk.hear(1.0)
        talk.send("conversation.item.retrieve", item_id="none", event_id="now")
        before = talk.until("error")
        assert ("input_audio_buffer.committed" in kinds(before)) is answered


@pytest.mark.parametrize(("said", "status"), [("stop", "cancelled"), ("yeah", "completed")])
def test_short_words_over_an_answer_are_judged_by_the_recognizer(
    connect: Connect, said: str, status: str
) -> None:
    chat, clock = ScriptedChat([[TextDelta("It is noon. And"), TextDelta(" go.")]]), FixedClock()
    turns = TurnSettings(speculate=False, resume_ms=400, backchannel_ms=900)
    settings = DialogSettings(responder="chat", turns=turns)
    ear = ScriptedRecognizer([said])
    client = chatting(connect, chat, clock=clock, recognizer=ear, dialog=settings)
    with talking(client) as talk:
        configured(talk)
        chat.hold = 1
        ask(talk)
        talk.until(SOUND)
        clock.now += 0.3
        talk.hear(0.3, 0.3)
        talk.hear(0.4)
        interrupted = talk.until("response.done")[-1]["response"]
        assert interrupted["status"] == "cancelled"
        chat.hold = None
        chat.resume.set()
        if status == "completed":  # it goes on, as a response of its own
            assert talk.until("response.done")[-1]["response"]["status"] == "completed"


def test_thoughts_are_shown_to_who_asks_for_them(connect: Connect) -> None:
    chat = ScriptedChat([[Reasoning("Hm."), TextDelta("Noon.")]])
    with talking(chatting(connect, chat)) as talk:
        for include in ([], ["response.reasoning_text"]):
            configured(talk, include=include)
            ask(talk)
            events = talk.until("response.done")
            thoughts = [e for e in events if e["type"] == "response.reasoning_text.delta"]
            assert [e["delta"] for e in thoughts] == (["Hm."] if include else [])
            output = events[-1]["response"]["output"][0]["content"][0]
            assert output["transcript"] == "Noon."


def test_a_clients_tool_is_called_and_its_result_told(connect: Connect) -> None:
    call = ToolCall("call_1", "open_door", '{"door":"front"}')
    chat = ScriptedChat([[call], [TextDelta("It is open.")]])
    settings = DialogSettings(responder="chat", turns=TurnSettings(speculate=False))
    with talking(chatting(connect, chat, dialog=settings)) as talk:
        configured(talk, tools=[DOOR])
        ask(talk)
        done = talk.until("response.done")[-1]
        (called,) = done["response"]["output"]
        assert (called["name"], called["arguments"]) == ("open_door", '{"door":"front"}')
        item = {"type": "function_call_output", "call_id": "call_1", "output": '{"ok":true}'}
        talk.send("conversation.item.create", item=item)
        talk.send("response.create")
        assert talk.until("response.done")[-1]["response"]["status"] == "completed"
    assert chat.requests[1].messages[-2:] == (
        ChatMessage("assistant", calls=(call,)),
        ChatMessage("tool", '{"ok":true}', call_id="call_1"),
    )


def test_a_chat_server_that_is_away_fails_the_response_and_says_why(connect: Connect) -> None:
    chat = ScriptedChat([[EngineLost("http://x/v1", "nobody there")], [TextDelta("Noon.")]])
    settings = DialogSettings(responder="chat", turns=TurnSettings(speculate=False))
    with talking(chatting(connect, chat, dialog=settings)) as talk:
        configured(talk)
        ask(talk)
        failed = talk.until("response.done")[-1]["response"]
        assert failed["status"] == "failed"
        assert "nobody there" in failed["status_details"]["error"]["message"]
        ask(talk)
        assert talk.until("response.done")[-1]["response"]["status"] == "completed"


@pytest.mark.parametrize("temperature", [0.1, 1.7])
def test_a_clients_temperature_and_limit_reach_the_model(
    connect: Connect, temperature: float
) -> None:
    chat = ScriptedChat([[TextDelta("Noon.")]])
    with talking(chatting(connect, chat)) as talk:
        configured(talk, temperature=temperature, max_output_tokens=33)
        ask(talk)
        talk.until("response.done")
    sampling = chat.requests[0].sampling
    assert (sampling.temperature, sampling.max_tokens) == (temperature, 33)


@pytest.mark.parametrize("detection", [True, False])
def test_the_language_and_the_names_that_a_client_tells_reach_the_recognizer(
    connect: Connect, detection: bool
) -> None:
    """Also where nothing is recognized while the person speaks: the answer asks for the words."""
    chat, ear = ScriptedChat([[TextDelta("Noon.")]]), ScriptedRecognizer(WORDS, language="de")
    turns = TurnSettings(speculate=False)
    settings = DialogSettings(responder="chat", turns=turns, live_words=False)
    with talking(chatting(connect, chat, dialog=settings, recognizer=ear)) as talk:
        told = {"model": "any", "language": "de-AT", "prompt": "Kovács"}
        heard: dict[str, Any] = {"transcription": told}
        heard |= {} if detection else {"turn_detection": None}
        talk.send("session.update", session={"type": "realtime", "audio": {"input": heard}})
        talk.until("session.updated")
        ask(talk)
        if not detection:
            talk.send("input_audio_buffer.commit")
            talk.send("response.create")
        events = talk.until("response.done")
    assert {(hints.language, hints.context) for _, hints, _ in ear.asked} == {("de", "Kovács")}
    completed = next(e for e in events if e["type"] == f"{KIND}.completed")
    assert completed["language"] == "de"


def test_what_a_chat_server_refuses_is_told_with_the_answer(connect: Connect) -> None:
    chat = ScriptedChat([[TextDelta("Noon.")]], refused=("seed", "temperature", "tools"))
    with talking(chatting(connect, chat)) as talk:
        configured(talk, tools=[DOOR], temperature=0.3)
        ask(talk)
        done = talk.until("response.done")[-1]
        assert [(one["code"], one["param"]) for one in done["warnings"]] == [
            ("refused_by_chat_server", "response.tools"),
            ("refused_by_chat_server", "response.temperature"),
        ]
        chat.refused = ()
        ask(talk)
        assert "warnings" not in talk.until("response.done")[-1]


FIELDS: dict[str, tuple[dict[str, Any], str | None]] = {
    "type": ({}, None),
    "instructions": ({"instructions": "Be brief."}, None),
    "output_modalities": ({"output_modalities": ["text"]}, None),
    "tools": ({"tools": [DOOR]}, None),
    "tool_choice": ({"tools": [DOOR], "tool_choice": "none"}, None),
    "temperature": ({"temperature": 0.2}, None),
    "max_output_tokens": ({"max_output_tokens": 9}, None),
    "audio.output.voice": ({"audio": {"output": {"voice": "slt"}}}, None),
    "audio.output.speed": ({"audio": {"output": {"speed": 1.5}}}, None),
    "audio.input.noise_reduction": (
        {"audio": {"input": {"noise_reduction": {"type": "near_field"}}}},
        "session.audio.input.noise_reduction",
    ),
    "include": ({"include": ["item.input_audio_transcription.logprobs"]}, "session.include.0"),
    "prompt": ({"prompt": {"id": "pmpt_1"}}, "session.prompt"),
    "tracing": ({"tracing": "auto"}, "session.tracing"),
    "truncation": ({"truncation": "disabled"}, "session.truncation"),
    "reasoning": ({"reasoning": {"effort": "low"}}, "session.reasoning"),
    "parallel_tool_calls": ({"parallel_tool_calls": False}, "session.parallel_tool_calls"),
}
"""Fields of a session, as OpenAI's clients know them; where one changes nothing, the place told."""


@pytest.mark.parametrize(("changes", "idle"), FIELDS.values(), ids=FIELDS)
def test_every_field_of_a_session_is_served_or_said_not_to_be(
    connect: Connect, changes: dict[str, Any], idle: str | None
) -> None:
    chat = ScriptedChat([[TextDelta("Noon.")]])
    with talking(chatting(connect, chat)) as talk:
        talk.send("session.update", session={"type": "realtime", **changes})
        updated = talk.until("session.updated")[-1]
        assert [one["param"] for one in updated.get("warnings", [])] == ([idle] if idle else [])
        if idle is not None:
            return
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "?"}]}
        talk.send("conversation.item.create", item=item)
        talk.send("response.create")
        events = talk.until("response.done")
    request, told = chat.requests[0], kinds(events)
    assert (SOUND in told) is (changes.get("output_modalities") != ["text"])
    assert (request.messages[0].text == "Be brief.") is ("instructions" in changes)
    offered = "tools" in changes and "tool_choice" not in changes
    assert ("open_door" in [tool.name for tool in request.tools]) is offered
    assert request.sampling.temperature == changes.get("temperature", SETTINGS.sampling.temperature)
    limit = changes.get("max_output_tokens", SETTINGS.sampling.max_tokens)
    assert request.sampling.max_tokens == limit
    output = changes.get("audio", {}).get("output", {})
    assert updated["session"]["audio"]["output"].items() >= output.items()
