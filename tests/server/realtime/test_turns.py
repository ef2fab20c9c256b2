"""Turns that the server finds: pauses, early answers, interruptions, false alarms."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from server.realtime.session.send_queue import SendQueue
from step_audio.core.ports import ToolSpec
from step_audio.core.types import ToolCall, ToolResult
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.settings import DialogSettings, TurnSettings
from step_audio.dialog.tool_calls.background import BackgroundCallSettings
from tests.fakes import (
    VOCAB,
    FakeTools,
    FixedClock,
    MemoryRecorder,
    ScriptedEngine,
    group,
    text_ids,
)
from tests.server.conftest import Connect
from tests.server.wire import Event, Talk, kinds, sound, talking
from tokenizer.vad import EnergyTurnDetector

HEARD = [6, *text_ids("what time is it"), 7]
WORDS = "It is noon and the sun is high above the town."
GROUPS = [group(n) for n in range(20)]
ANSWER = [*HEARD, *interleave(text_ids(WORDS), GROUPS, VOCAB)]
BEFORE_SOUND = len(HEARD) + 8

QUIET = DialogSettings(turns=TurnSettings(speculate=False))


def settle(engine: ScriptedEngine, requests: int) -> None:
    """Wait until the engine has seen so many requests."""
    deadline = time.monotonic() + 10
    while len(engine.requests) < requests and time.monotonic() < deadline:
        time.sleep(0.005)
    assert len(engine.requests) == requests


def turn(talk: Talk) -> list[Event]:
    """Speak for 600 ms and fall silent; return what comes until the answer is done."""
    talk.hear(0.3)
    talk.hear(0.6, 0.3)
    talk.hear(0.7)
    return talk.until("response.done")


@pytest.mark.parametrize("dialog", [DialogSettings(), QUIET])
def test_the_server_finds_the_turn_and_answers(connect: Connect, dialog: DialogSettings) -> None:
    with talking(connect([ANSWER], detector=EnergyTurnDetector(), dialog=dialog)) as talk:
        events = turn(talk)
    assert [event["type"] for event in events[:6]] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    ids = {event.get("item_id") or event["item"]["id"] for event in events[:5]}
    assert len(ids) == 1
    assert 0 <= events[0]["audio_start_ms"] < 300 < events[1]["audio_end_ms"] <= 1600
    assert sound(events) == 20 * 960 * 3
    assert events[-1]["response"]["status"] == "completed"


def test_detection_is_reported_as_it_is_and_can_be_chosen(connect: Connect) -> None:
    with talking(connect([ANSWER], detector=EnergyTurnDetector())) as talk:
        for given, silence in (({"type": "server_vad"}, 500), ({"silence_duration_ms": 900}, 900)):
            choice = {"type": "server_vad", **given}
            talk.send("session.update", session={"audio": {"input": {"turn_detection": choice}}})
            shown = talk.next()["session"]["audio"]["input"]["turn_detection"]
            assert shown == {
                "type": "server_vad",
                "threshold": 0.5,
                "prefix_padding_ms": 300,
                "silence_duration_ms": silence,
                "idle_timeout_ms": None,
                "create_response": True,
                "interrupt_response": True,
            }
        choice = {"type": "semantic_vad", "eagerness": "low", "interrupt_response": False}
        talk.send("session.update", session={"audio": {"input": {"turn_detection": choice}}})
        shown = talk.next()["session"]["audio"]["input"]["turn_detection"]
        assert shown == {**choice, "create_response": True}
        talk.send("session.update", session={"instructions": "x"})
        assert talk.next()["session"]["audio"]["input"]["turn_detection"] == shown
        talk.send("session.update", session={"audio": {"input": {"turn_detection": None}}})
        assert talk.next()["session"]["audio"]["input"]["turn_detection"] is None
        wrong = {"type": "server_vad", "threshold": 2}
        session = {"audio": {"input": {"turn_detection": wrong}}}
        param = talk.error("session.update", session=session)["param"]
        assert param.startswith("session.audio.input.turn_detection")


def test_a_pause_starts_an_answer_that_the_end_of_the_turn_releases(connect: Connect) -> None:
    engine, recorder, clock = ScriptedEngine([ANSWER]), MemoryRecorder(), FixedClock()
    client = connect(engine=engine, detector=EnergyTurnDetector(), recorder=recorder, clock=clock)
    with talking(client) as talk:
        talk.hear(0.3)
        talk.hear(0.6, 0.3)
        talk.hear(0.36)
        settle(engine, 1)
        assert talk.next()["type"] == "input_audio_buffer.speech_started"
        clock.now = 0.2
        talk.hear(0.4)
        events = talk.until("response.done")
        assert events[0]["type"] == "input_audio_buffer.speech_stopped"
        assert sound(events) == 20 * 960 * 3
        talk.send("conversation.item.retrieve", item_id=events[1]["item_id"])
        assert talk.next()["item"]["content"][0]["transcript"] == "what time is it"
    assert len(engine.requests) == 1
    assert not engine.aborted
    assert ("speculations.committed", 1) in recorder.seen
    assert ("speculation_saved_s", 0.2) in recorder.seen


def test_more_speech_discards_the_early_answer(connect: Connect) -> None:
    engine, recorder = ScriptedEngine([ANSWER]), MemoryRecorder()
    client = connect(engine=engine, detector=EnergyTurnDetector(), recorder=recorder)
    with talking(client) as talk:
        talk.hear(0.3)
        talk.hear(0.6, 0.3)
        talk.hear(0.36)
        settle(engine, 1)
        talk.hear(0.4, 0.3)
        talk.hear(0.7)
        events = talk.until("response.done")
    assert [e["type"] for e in events].count("input_audio_buffer.speech_started") == 1
    assert [e["type"] for e in events].count("input_audio_buffer.committed") == 1
    assert [e["type"] for e in events].count("response.created") == 1
    first, second = engine.requests
    assert len(second.prompt) > len(first.prompt)
    ends = [name for name, _ in recorder.seen if name.startswith("speculations")]
    assert ends == ["speculations.discarded", "speculations.committed"]


def test_an_early_answer_waits_with_its_tools(connect: Connect) -> None:
    call = [*HEARD, 8, *text_ids("get_time {}")]
    engine = ScriptedEngine([call, ANSWER[len(HEARD) :]])
    with talking(connect(engine=engine, detector=EnergyTurnDetector())) as talk:
        talk.hear(0.3)
        talk.hear(0.6, 0.3)
        talk.hear(0.36)
        settle(engine, 1)
        time.sleep(0.1)
        assert len(engine.requests) == 1
        talk.hear(0.4)
        events = talk.until("response.done")
    assert len(engine.requests) == 2
    assert events[-1]["response"]["status"] == "completed"


class EarlyTools(FakeTools):
    """A clock that may be asked early, and waits until it is let go."""

    def __init__(self, *, lets_go: bool) -> None:
        self.calls = self.cancelled = 0
        self._lets_go = lets_go

    def specs(self) -> Sequence[ToolSpec]:
        return tuple(replace(tool, callable_early=True) for tool in super().specs())

    async def call(self, call: ToolCall) -> ToolResult:
        self.calls += 1
        try:
            if not self._lets_go:
                await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return await super().call(call)


def test_an_early_answer_calls_a_tool_that_changes_nothing(connect: Connect) -> None:
    call = [*HEARD, 8, *text_ids("get_time {}")]
    engine = ScriptedEngine([call, ANSWER[len(HEARD) :]])
    tools = EarlyTools(lets_go=True)
    with talking(connect(engine=engine, detector=EnergyTurnDetector(), tools=tools)) as talk:
        talk.hear(0.3)
        talk.hear(0.6, 0.3)
        talk.hear(0.36)
        settle(engine, 2)
        assert talk.next()["type"] == "input_audio_buffer.speech_started"
        talk.hear(0.4)
        events = talk.until("response.done")
    assert tools.calls == 1
    assert len(engine.requests) == 2
    assert sound(events) == 20 * 960 * 3
    assert events[-1]["response"]["status"] == "completed"


@pytest.mark.parametrize("wait_s", [None, 0.01])
def test_an_early_call_of_a_discarded_answer_is_dropped_and_never_told(
    connect: Connect, wait_s: float | None
) -> None:
    call = [*HEARD, 8, *text_ids("get_time {}")]
    engine, tools = ScriptedEngine([call, ANSWER]), EarlyTools(lets_go=False)
    dialog = DialogSettings(background_calls=BackgroundCallSettings(bridge="", wait_s=wait_s))
    client = connect(engine=engine, detector=EnergyTurnDetector(), tools=tools, dialog=dialog)
    with talking(client) as talk:
        talk.hear(0.3)
        talk.hear(0.6, 0.3)
        talk.hear(0.36)
        deadline = time.monotonic() + 10
        while not tools.calls and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.1)  # longer than an answer waits for its calls
        talk.hear(0.4, 0.3)
        talk.hear(0.7)
        events = talk.until("response.done")
        assert events[-1]["response"]["status"] == "completed"
        talk.send("conversation.item.retrieve", item_id=events[-1]["response"]["output"][0]["id"])
        talk.next()
        assert (tools.calls, tools.cancelled) == (1, 1)  # not only when the session ends
    assert len(engine.requests) == 2


UNFINISHED = [6, *text_ids("what is twelve plus"), 7, *text_ids("What?")]
SEMANTIC = {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}


@pytest.mark.parametrize(
    ("choice", "first", "turns"),
    [
        ("semantic_vad", UNFINISHED, 1),
        ("semantic_vad", ANSWER, 2),
        ("server_vad", UNFINISHED, 2),
    ],
)
def test_semantic_detection_waits_longer_after_words_that_go_on(
    connect: Connect, choice: str, first: list[int], turns: int
) -> None:
    engine = ScriptedEngine([first, ANSWER])
    with talking(connect(engine=engine, detector=EnergyTurnDetector())) as talk:
        talk.send(
            "session.update", session={"audio": {"input": {"turn_detection": {"type": choice}}}}
        )
        talk.until("session.updated")
        talk.hear(0.3)
        talk.hear(0.6, 0.3)
        talk.hear(0.36)
        settle(engine, 1)
        talk.hear(0.5)
        talk.hear(0.6, 0.3)
        talk.hear(0.9)
        seen = kinds(talk.until("input_audio_buffer.committed"))
        while seen.count("input_audio_buffer.committed") < turns:
            seen += kinds(talk.until("input_audio_buffer.committed"))
        talk.until("response.done")
    assert seen.count("input_audio_buffer.speech_started") == turns
    assert seen.count("input_audio_buffer.speech_stopped") == turns


def test_who_does_not_go_on_is_answered_all_the_same(connect: Connect) -> None:
    recorder, engine = MemoryRecorder(), ScriptedEngine([UNFINISHED])
    client = connect(engine=engine, detector=EnergyTurnDetector(), recorder=recorder)
    with talking(client) as talk:
        talk.send("session.update", session=SEMANTIC)
        talk.until("session.updated")
        talk.hear(0.3)
        talk.hear(0.6, 0.3)
        talk.hear(1.7)
        assert talk.until("response.done")[-1]["response"]["status"] == "completed"
    assert len(engine.requests) == 1  # the early answer is the one that is given
    (delay_s,) = (value for name, value in recorder.seen if name == "endpoint_delay_s")
    assert delay_s == pytest.approx(1.5, abs=0.05)


def test_semantic_detection_without_early_answers_goes_by_silence(connect: Connect) -> None:
    recorder = MemoryRecorder()
    detector = EnergyTurnDetector()
    with talking(connect([UNFINISHED], detector=detector, dialog=QUIET, recorder=recorder)) as talk:
        talk.send("session.update", session=SEMANTIC)
        talk.until("session.updated")
        turn(talk)
    (delay_s,) = (value for name, value in recorder.seen if name == "endpoint_delay_s")
    assert delay_s == pytest.approx(0.5, abs=0.05)


def test_an_update_in_the_pause_makes_the_early_answer_stale(connect: Connect) -> None:
    engine = ScriptedEngine([ANSWER], hold=3)
    with talking(connect(engine=engine, detector=EnergyTurnDetector())) as talk:
        talk.hear(0.3)
        talk.hear(0.6, 0.3)
        talk.hear(0.36)
        settle(engine, 1)
        talk.send("session.update", session={"audio": {"output": {"voice": "slt"}}})
        talk.until("session.updated")
        engine.hold = None
        talk.hear(0.4)
        done = talk.until("response.done")[-1]["response"]
    assert done["audio"]["output"]["voice"] == "slt"
    assert engine.aborted == [engine.requests[0].request_id]


def test_speech_during_an_answer_stops_it_and_history_keeps_what_was_heard(
    connect: Connect,
) -> None:
    engine = ScriptedEngine([ANSWER], hold=len(ANSWER) - 5)
    clock = FixedClock()
    client = connect(engine=engine, detector=EnergyTurnDetector(), clock=clock)
    with talking(client) as talk:
        talk.hear(0.3)
        talk.hear(0.6, 0.3)
        talk.hear(0.7)
        events = talk.until("response.output_audio.delta")
        answer = events[-1]["item_id"]
        clock.now = 1.0
        talk.hear(0.3, 0.3)
        events = talk.until("response.done")
        at = kinds(events).index("input_audio_buffer.speech_started")
        after = events[[e["type"] for e in events].index("input_audio_buffer.speech_started") :]
        assert at >= 0
        assert not sound(after)
        assert after[-1]["response"]["status"] == "cancelled"
        assert after[-1]["response"]["status_details"]["reason"] == "turn_detected"
        assert engine.aborted == [engine.requests[0].request_id]
        talk.send("conversation.item.retrieve", item_id=answer)
        heard = talk.until("conversation.item.retrieved")[-1]["item"]["content"][0]["transcript"]
        assert heard
        assert WORDS.startswith(heard)
        assert heard != WORDS
        talk.send("conversation.item.truncate", item_id=answer, content_index=0, audio_end_ms=600)
        talk.until("conversation.item.truncated")
        talk.send("conversation.item.retrieve", item_id=answer)
        less = talk.until("conversation.item.retrieved")[-1]["item"]["content"][0]["transcript"]
        assert heard.startswith(less)
        assert len(less) < len(heard)
        engine.hold = None
        talk.hear(0.7)
        events = talk.until("response.done")
        assert events[-1]["response"]["status"] == "completed"
    shown = bytes(i - 300 for i in engine.requests[1].prompt if 300 <= i < 556)
    assert less.encode() in shown
    assert WORDS.encode() not in shown


def test_an_answer_that_must_not_be_interrupted_goes_on_and_the_next_one_follows(
    connect: Connect,
) -> None:
    engine = ScriptedEngine([ANSWER], hold=len(ANSWER) - 5)
    with talking(connect(engine=engine, detector=EnergyTurnDetector(), dialog=QUIET)) as talk:
        choice = {"type": "server_vad", "interrupt_response": False}
        talk.send("session.update", session={"audio": {"input": {"turn_detection": choice}}})
        talk.hear(0.3)
        talk.hear(0.6, 0.3)
        talk.hear(0.7)
        talk.until("response.output_audio.delta")
        talk.hear(0.6, 0.3)
        talk.hear(0.7)
        talk.until("input_audio_buffer.committed")
        assert not engine.aborted
        engine.hold = None
        engine.resume.set()
        assert talk.until("response.done")[-1]["response"]["status"] == "completed"
        assert talk.until("response.done")[-1]["response"]["status"] == "completed"


@pytest.mark.parametrize("resume_ms", [0, 400])
def test_who_is_not_to_be_interrupted_is_heard_to_the_end_after_all_was_sent(
    connect: Connect, resume_ms: int
) -> None:
    """The player still has most of the answer when somebody speaks, and goes on playing."""
    dialog = DialogSettings(turns=TurnSettings(resume_ms=resume_ms, speculate=False))
    clock = FixedClock()
    client = connect([ANSWER], detector=EnergyTurnDetector(), dialog=dialog, clock=clock)
    with talking(client) as talk:
        choice = {"type": "server_vad", "interrupt_response": False}
        talk.send("session.update", session={"audio": {"input": {"turn_detection": choice}}})
        first = turn(talk)[-1]["response"]["output"][0]["id"]
        clock.now = 0.5  # of 2.4 s
        talk.hear(0.6, 0.3)
        talk.hear(0.7)
        assert talk.until("response.done")[-1]["response"]["status"] == "completed"
        talk.send("conversation.item.retrieve", item_id=first)
        said = talk.until("conversation.item.retrieved")[-1]["item"]
    assert said["content"][0]["transcript"] == WORDS


def test_a_cough_delays_the_answer_where_the_profile_says_so(connect: Connect) -> None:
    engine, clock = ScriptedEngine([ANSWER], hold=len(ANSWER) - 5), FixedClock()
    dialog = DialogSettings(turns=TurnSettings(resume_ms=400))
    client = connect(engine=engine, detector=EnergyTurnDetector(), dialog=dialog, clock=clock)
    with talking(client) as talk:
        talk.hear(0.3)
        talk.hear(0.6, 0.3)
        talk.hear(0.7)
        first = talk.until("response.output_audio.delta")
        clock.now = 0.6
        talk.hear(0.12, 0.3)
        talk.hear(0.4)
        first += talk.until("response.done")
        assert first[-1]["response"]["status_details"]["reason"] == "turn_detected"
        heard = first[-1]["response"]["output"][0]["id"]
        rest = talk.until("response.created")
        assert "input_audio_buffer.cleared" in kinds(rest)
        assert not engine.aborted
        engine.resume.set()
        rest += talk.until("response.done")
        assert rest[-1]["response"]["status"] == "completed"
        assert sound(rest) == (20 - 5) * 960 * 3  # 600 ms are 5 groups
        said = []
        for item in (heard, rest[-1]["response"]["output"][0]["id"]):
            talk.send("conversation.item.retrieve", item_id=item)
            said.append(talk.next()["item"]["content"][0]["transcript"])
        assert "".join(said) == WORDS


def test_a_real_interruption_is_confirmed_by_its_length(connect: Connect) -> None:
    engine = ScriptedEngine([ANSWER], hold=len(ANSWER) - 5)
    dialog = DialogSettings(turns=TurnSettings(resume_ms=400, speculate=False))
    with talking(connect(engine=engine, detector=EnergyTurnDetector(), dialog=dialog)) as talk:
        talk.hear(0.3)
        talk.hear(0.6, 0.3)
        talk.hear(0.7)
        talk.until("response.output_audio.delta")
        talk.hear(0.8, 0.3)
        talk.until("response.done")
        deadline = time.monotonic() + 10
        while not engine.aborted and time.monotonic() < deadline:
            time.sleep(0.005)
        assert engine.aborted
        engine.hold = None
        talk.hear(0.7)
        assert talk.until("response.done")[-1]["response"]["status"] == "completed"


def test_no_sound_of_a_silenced_response_is_left_in_the_outlet() -> None:
    send_queue = SendQueue()
    for response in ("a", "b"):
        send_queue.send(
            {"type": "response.output_audio.delta", "response_id": response, "delta": "AAAA" * 16}
        )
    assert send_queue.silence("a") == 48
    assert send_queue.silence("a") == 0
    assert send_queue.silence("b") == 48
