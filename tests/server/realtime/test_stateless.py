"""StepFun's clients that keep the conversation themselves: /v1/realtime/stateless."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.testclient import TestClient

from step_audio.dialog.prompting.layout import interleave
from tests.fakes import VOCAB, ScriptedEngine, group, text_ids
from tests.server.conftest import Connect
from tests.server.wire import SECOND, Event, Talk, kinds, talking
from tokenizer.vad import EnergyTurnDetector

ADDRESS = "ws://localhost/v1/realtime/stateless?model=step-overture-preview"
ANSWER = interleave(text_ids("It is noon."), [group(n) for n in range(4)], VOCAB)
WANTED = {"modalities": ["text", "audio"], "voice": "jingdiannvsheng", "instructions": "Be short."}
LAMP = {"type": "function", "function": {"name": "lamp", "description": "", "parameters": {}}}


@contextmanager
def stateless(client: TestClient) -> Iterator[Talk]:
    with client.websocket_connect(ADDRESS) as socket:
        yield Talk(socket)


def message(role: str, text: str, item_id: str = "m") -> Event:
    kind = "input_text" if role == "user" else "text"
    content = [{"type": kind, "text": text}]
    return {"id": item_id, "type": "message", "role": role, "content": content}


def shown(engine: ScriptedEngine, at: int = -1) -> str:
    """Return the text of a prompt."""
    return bytes(i - 300 for i in engine.requests[at].prompt if 300 <= i < 556).decode()


def spoken(talk: Talk, **response: Any) -> list[Event]:
    """Speak for a second, ask for an answer and return all until it is done."""
    talk.send("input_audio_buffer.append", audio=SECOND)
    talk.send("input_audio_buffer.commit")
    talk.send("response.create", response={**WANTED, "history": [], **response})
    return talk.until("response.done")


def restore(talk: Talk) -> None:
    talk.send("session.restore", event_id="evt_1")
    assert talk.next()["type"] == "session.restored"


def test_a_turn_is_answered_by_what_the_client_recites_and_then_forgotten(
    connect: Connect,
) -> None:
    engine = ScriptedEngine([ANSWER])
    with stateless(connect(engine=engine, detector=EnergyTurnDetector())) as talk:
        history = [message("user", "My name is Ann."), message("assistant", "Hello Ann.")]
        events = spoken(talk, history=history, speed_ratio=1.1)
        assert kinds(events) == [
            "input_audio_buffer.committed",
            "conversation.item.created",
            "response.created",
            "response.output_item.added",
            "conversation.item.created",
            "response.content_part.added",
            "response.audio_transcript.delta",
            "response.audio.delta",
            "response.audio.done",
            "response.audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.done",
        ]
        assert events[-1]["response"]["voice"] == "jingdiannvsheng"
        assert "My name is Ann." in shown(engine)
        assert "Hello Ann." in shown(engine)
        restore(talk)
        spoken(talk)
        assert "Ann" not in shown(engine)
        assert "noon" not in shown(engine)
        sounding = [sum(map(VOCAB.is_audio, r.prompt)) for r in engine.requests]
        assert sounding[0] == sounding[1] > 0  # one question each


def test_text_alone_comes_under_its_own_name(connect: Connect) -> None:
    with stateless(connect([text_ids("It is noon.")])) as talk:
        typed = message("user", "What time is it?", "msg_1")
        talk.send("conversation.item.create", item=typed)
        talk.send("response.create", response={**WANTED, "modalities": ["text"], "history": []})
        events = talk.until("response.done")
    said = "".join(e["delta"] for e in events if e["type"] == "response.raw_text.delta")
    assert said == "It is noon."


def test_an_interruption_stops_the_answer_and_starts_none_without_a_question(
    connect: Connect,
) -> None:
    engine = ScriptedEngine([ANSWER], hold=len(ANSWER) - 5)
    with stateless(connect(engine=engine)) as talk:
        talk.send("input_audio_buffer.append", audio=SECOND)
        talk.send("input_audio_buffer.commit")
        talk.send("response.create", response={**WANTED, "history": []})
        talk.until("response.audio.delta")
        stop = {"modalities": ["text"], "instructions": "", "interrupt_current_response": True}
        talk.send("response.create", response=stop)
        assert talk.until("response.done")[-1]["response"]["status"] == "cancelled"
        restore(talk)
        engine.hold = None
        assert spoken(talk)[-1]["response"]["status"] == "completed"
    assert engine.aborted == [engine.requests[0].request_id]
    assert len(engine.requests) == 2


def test_a_restore_stops_what_runs(connect: Connect) -> None:
    engine = ScriptedEngine([ANSWER], hold=len(ANSWER) - 5)
    with stateless(connect(engine=engine)) as talk:
        talk.send("input_audio_buffer.append", audio=SECOND)
        talk.send("input_audio_buffer.commit")
        talk.send("response.create", response={**WANTED, "history": []})
        talk.until("response.audio.delta")
        talk.send("input_audio_buffer.append", audio=SECOND)
        talk.send("session.restore")
        events = talk.until("session.restored")
        assert events[-2]["response"]["status"] == "cancelled"
        error = talk.error("input_audio_buffer.commit")
    assert error["code"] == "input_audio_buffer_commit_empty"


def test_a_result_may_come_after_the_restore_and_is_told_once(connect: Connect) -> None:
    engine = ScriptedEngine([[8, *text_ids('lamp {"on":true}')], ANSWER])
    with stateless(connect(engine=engine)) as talk:
        (call,) = spoken(talk, tools=[LAMP])[-1]["response"]["output"]
        restore(talk)
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "it is on"}
        talk.send("conversation.item.create", item={"id": "out", **result})
        assert talk.next()["type"] == "conversation.item.created"
        made = {key: call[key] for key in ("type", "call_id", "name", "arguments")}
        history = [message("user", "Light!"), {"id": "m", **made}, {"id": "m", **result}]
        for recited in (history, history[:1]):
            talk.send("response.create", response={**WANTED, "history": recited, "tools": [LAMP]})
            assert talk.until("response.done")[-1]["response"]["status"] == "completed"
            assert shown(engine).count("it is on") == (1 if recited is history else 0)


def test_a_result_that_is_not_recited_belongs_to_the_turn(connect: Connect) -> None:
    engine = ScriptedEngine([[8, *text_ids('lamp {"on":true}')], ANSWER])
    with stateless(connect(engine=engine)) as talk:
        (call,) = spoken(talk, tools=[LAMP])[-1]["response"]["output"]
        restore(talk)
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "it is on"}
        talk.send("conversation.item.create", item=result)
        history = [message("user", "Light!")]
        talk.send("response.create", response={**WANTED, "history": history, "tools": [LAMP]})
        talk.until("response.done")
    told = shown(engine)
    assert told.index("Light!") < told.index('lamp {"on":true}') < told.index("it is on")


def test_the_servers_own_calls_are_shown_unasked(connect: Connect) -> None:
    engine = ScriptedEngine([[8, *text_ids("get_time {}")], ANSWER])
    with stateless(connect(engine=engine)) as talk:
        assert "response.builtin_tool_call.done" in kinds(spoken(talk))


def test_the_server_finds_no_turns_there_even_when_asked_to(connect: Connect) -> None:
    with stateless(connect([ANSWER], detector=EnergyTurnDetector())) as talk:
        talk.send("session.update", session={"turn_detection": {"type": "server_vad"}})
        assert talk.next()["session"]["turn_detection"] is None
        talk.hear(0.6, 0.3)
        talk.hear(0.7)
        talk.send("input_audio_buffer.commit")
        assert talk.next()["type"] == "input_audio_buffer.committed"


def test_a_result_of_an_unknown_call_is_refused(connect: Connect) -> None:
    with stateless(connect([ANSWER])) as talk:
        result = {"type": "function_call_output", "call_id": "call_9", "output": "x"}
        error = talk.error("response.create", response={**WANTED, "history": [result]})
    assert error["code"] == "invalid_call_id"


@pytest.mark.parametrize("headers", [{}, {"openai-beta": "realtime=v1"}])
def test_elsewhere_there_is_no_restore(connect: Connect, headers: dict[str, str]) -> None:
    with talking(connect([ANSWER]), headers=headers) as talk:
        assert talk.error("session.restore")["code"] == "unknown_event"
