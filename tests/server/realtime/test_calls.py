"""Clients that answer a call before the response that made it is over."""

import threading
from collections.abc import Iterable

import pytest

from step_audio.core.ports import Stage
from step_audio.core.types import Pcm, TokenGroup, Voice
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.prompting.tool_syntax import JsonSchemaSyntax
from step_audio.dialog.settings import DialogSettings
from tests.fakes import VOCAB, ScriptedEngine, SineVocoder, group, text_ids
from tests.server.conftest import Connect
from tests.server.wire import talking

LAMP = {"type": "function", "name": "lamp", "parameters": {"type": "object"}}
ANSWER = interleave(text_ids("It is on."), [group(n) for n in range(3)], VOCAB)
CALLS = {
    "nano": [8, *text_ids("lamp {}")],
    "json_schemas": text_ids(JsonSchemaSyntax().write("lamp", "{}")),
}


class SlowVocoder(SineVocoder):
    """Says that an answer is over when the test does."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def open(self, voice: Voice, seed: int = 0) -> Stage[TokenGroup, Pcm]:
        return SlowStage(super().open(voice, seed), self.gate)


class SlowStage:
    def __init__(self, inner: Stage[TokenGroup, Pcm], gate: threading.Event) -> None:
        self._inner, self._gate = inner, gate

    def push(self, item: TokenGroup, /) -> Iterable[Pcm]:
        return self._inner.push(item)

    def flush(self) -> Iterable[Pcm]:
        assert self._gate.wait(30)
        return self._inner.flush()


@pytest.mark.parametrize("dialect", ["nano", "json_schemas"])
def test_the_result_is_taken_and_the_next_response_follows(connect: Connect, dialect: str) -> None:
    engine, vocoder = ScriptedEngine([CALLS[dialect], ANSWER]), SlowVocoder()
    client = connect(engine=engine, vocoder=vocoder, dialog=DialogSettings(dialect=dialect))
    with talking(client) as talk:
        talk.send("session.update", session={"type": "realtime", "tools": [LAMP]})
        talk.until("session.updated")
        talk.ask()
        talk.send("response.create")
        call = talk.until("response.output_item.done")[-1]["item"]
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "{}"}
        talk.send("conversation.item.create", item=output)
        assert talk.next()["type"] == "conversation.item.added"
        assert talk.next()["type"] == "conversation.item.done"
        talk.send("response.create", response={"metadata": {"which": "second"}})
        talk.send("conversation.item.retrieve", item_id=call["id"])
        assert talk.next()["type"] == "conversation.item.retrieved"  # and no error
        vocoder.gate.set()
        assert talk.next()["type"] == "response.done"
        events = talk.until("response.done")
    assert events[0]["type"] == "response.created"
    assert events[-1]["response"]["metadata"] == {"which": "second"}
    assert events[-1]["response"]["output"][0]["content"][0]["transcript"] == "It is on."


def test_a_call_made_to_chosen_items_is_known_before_its_response_is_over(
    connect: Connect,
) -> None:
    engine, vocoder = ScriptedEngine([CALLS["nano"], ANSWER]), SlowVocoder()
    with talking(connect(engine=engine, vocoder=vocoder)) as talk:
        talk.send("session.update", session={"type": "realtime", "tools": [LAMP]})
        talk.until("session.updated")
        said = {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "hi"}],
        }
        talk.send("response.create", response={"input": [said]})
        call = talk.until("response.output_item.done")[-1]["item"]
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "{}"}
        talk.send("conversation.item.create", item=output)
        assert talk.next()["type"] == "conversation.item.added"
        talk.send("response.create")
        vocoder.gate.set()
        talk.until("response.done")
        assert talk.until("response.done")[-1]["response"]["status"] == "completed"
        talk.send("conversation.item.retrieve", item_id=call["id"])
        assert talk.next()["item"]["name"] == "lamp"
    shown = bytes(i - 300 for i in engine.requests[1].prompt if 300 <= i < 556)
    assert shown.index(b"lamp {}") < shown.index(b"{}", shown.index(b"lamp {}") + 7)


def test_a_response_in_the_middle_of_an_answer_is_refused_as_before(connect: Connect) -> None:
    vocoder = SlowVocoder()
    with talking(connect([ANSWER], vocoder=vocoder)) as talk:
        talk.ask()
        talk.send("response.create")
        error = talk.error("response.create")
        vocoder.gate.set()
    assert error["code"] == "conversation_already_has_active_response"
