"""What may happen while a response is interrupted, held back or full: no session is ever stuck."""

from __future__ import annotations

import asyncio

import pytest
from starlette.testclient import TestClient

from server.realtime.session.send_queue import SOUND, SendQueue
from step_audio.core.types import ToolCall, ToolResult, Transcript
from step_audio.dialog.prompting.conversation import Conversation, Typed, UserAudio
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.settings import DialogSettings, TurnSettings
from step_audio.dialog.tool_calls.background import BackgroundCallSettings
from tests.fakes import VOCAB, FixedClock, ScriptedEngine, group, text_ids
from tests.server.conftest import Connect
from tests.server.realtime.test_tools import BRIDGE, CALL, LateTools
from tests.server.wire import Talk, kinds, talking
from tokenizer.vad import EnergyTurnDetector

HEARD = [6, *text_ids("what time is it"), 7]
WORDS = "It is noon and the sun is high above the town."
ANSWER = [*HEARD, *interleave(text_ids(WORDS), [group(n) for n in range(20)], VOCAB)]
COUGHS = DialogSettings(turns=TurnSettings(resume_ms=400, speculate=False))


def coughing(connect: Connect) -> tuple[ScriptedEngine, FixedClock, TestClient]:
    """A client that coughs into an answer, whose end is still to be made."""
    engine, clock = ScriptedEngine([ANSWER], hold=len(ANSWER) - 5), FixedClock()
    client = connect(engine=engine, detector=EnergyTurnDetector(), dialog=COUGHS, clock=clock)
    return engine, clock, client


def into_the_cough(talk: Talk, clock: FixedClock) -> str:
    """Ask, let the answer begin, cough; return the id of the answer's item."""
    talk.hear(0.3)
    talk.hear(0.6, 0.3)
    talk.hear(0.7)
    events = talk.until(SOUND)
    clock.now = 0.6
    talk.hear(0.12, 0.3)
    events += talk.until("response.done")
    item: str = events[-1]["response"]["output"][0]["id"]
    return item


def answers_again(talk: Talk, engine: ScriptedEngine) -> None:
    """A response can be asked for, and comes."""
    engine.hold = None
    engine.resume.set()
    talk.send("response.create")
    assert talk.until("response.done")[-1]["response"]["status"] == "completed"


def test_an_answer_that_is_deleted_in_a_cough_leaves_nobody_thinking(connect: Connect) -> None:
    engine, clock, client = coughing(connect)
    with talking(client) as talk:
        item = into_the_cough(talk, clock)
        talk.send("conversation.item.delete", item_id=item)
        talk.until("conversation.item.deleted")
        answers_again(talk, engine)


def test_stop_in_a_cough_ends_the_answer(connect: Connect) -> None:
    engine, clock, client = coughing(connect)
    with talking(client) as talk:
        into_the_cough(talk, clock)
        talk.send("response.cancel")
        talk.send("input_audio_buffer.clear")
        events = talk.until("input_audio_buffer.cleared")
        assert not {"error", "response.created", SOUND} & set(kinds(events))
        answers_again(talk, engine)


@pytest.mark.parametrize("answering", [True, False])
def test_a_late_result_in_a_full_conversation_is_an_error_and_the_session_goes_on(
    connect: Connect, *, answering: bool
) -> None:
    """Whether the result comes in the middle of another answer or while nobody speaks."""
    tools = LateTools()
    dialog = DialogSettings(background_calls=BackgroundCallSettings("One moment.", 0.0, 0.0))
    engine = ScriptedEngine([CALL, BRIDGE, ANSWER])
    with talking(connect(engine=engine, tools=tools, dialog=dialog)) as talk:
        talk.ask()
        talk.send("response.create")
        done = talk.until("response.done")[-1]["response"]
        for _ in range(1000):
            content = [{"type": "input_text", "text": "x"}]
            item = {"type": "message", "role": "user", "content": content}
            talk.send("conversation.item.create", item=item)
        talk.send("input_audio_buffer.clear")
        talk.until("input_audio_buffer.cleared")
        if answering:
            # An answer beside a full conversation has nowhere to go and fails; the session lives.
            talk.send("response.create")
            tools.gate.set()
            seen = talk.until("response.done")
        else:
            tools.gate.set()
            seen = talk.until("error")
        while not any(e["type"] == "error" for e in seen):
            seen.append(talk.next())
        codes = {e["error"]["code"] for e in seen if e["type"] == "error"}
        assert codes == {"overloaded"}
        talk.send("conversation.item.delete", item_id=done["output"][0]["id"])
        assert talk.until("conversation.item.deleted")


def test_a_released_early_answer_keeps_the_transcripts_that_came_meanwhile() -> None:
    conversation = Conversation()
    conversation.add(UserAudio("first", ()))
    fork = conversation.fork()
    fork.add(UserAudio("second", ()))
    conversation.transcribe("first", Transcript("what is the time"))
    conversation.adopt(fork)
    assert [item.transcript for item in conversation if isinstance(item, UserAudio)] == [
        "what is the time",
        None,
    ]
    conversation.add(Typed("third", "human", "thanks"))
    assert fork.has("third")


async def test_sound_counts_as_sent_when_it_goes_to_the_socket() -> None:
    """Not when it is queued behind other events."""
    sent: list[int] = []
    queue = SendQueue()
    queue.send({"type": "response.created"})
    queue.send({"type": SOUND, "response_id": "r", "delta": "AAAA"}, lambda: sent.append(1))
    await queue.take()
    assert not sent
    await queue.take()
    assert sent == [1]


class SelfCancelling(LateTools):
    """A tool whose own task is cancelled, as client libraries do when a connection breaks."""

    async def call(self, call: ToolCall) -> ToolResult:
        raise asyncio.CancelledError


def test_a_tool_that_cancels_itself_is_a_failed_call_and_the_answer_comes(connect: Connect) -> None:
    engine = ScriptedEngine([CALL, ANSWER])
    with talking(connect(engine=engine, tools=SelfCancelling())) as talk:
        talk.ask()
        talk.send("response.create")
        assert talk.until("response.done")[-1]["response"]["status"] == "completed"
