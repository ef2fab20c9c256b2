"""`idle_timeout_ms`: who says nothing after an answer is spoken to."""

import pytest

from server.realtime.session.input_audio import IdleTimer
from step_audio.dialog.prompting.layout import interleave
from tests.fakes import VOCAB, FixedClock, ScriptedEngine, group, text_ids
from tests.server.conftest import Connect
from tests.server.wire import Talk, kinds, sound, talking
from tokenizer.vad import EnergyTurnDetector

ANSWER = [6, *text_ids("hi"), 7, *interleave(text_ids("It is noon."), [group(0)] * 2, VOCAB)]
AGAIN = interleave(text_ids("Are you there?"), [group(1)], VOCAB)
LIMIT_MS = 2000


def test_time_counts_from_where_it_became_quiet() -> None:
    quiet = IdleTimer()
    assert quiet.hear(500, 1000, quiet=False) is None
    assert quiet.hear(600, 1000, quiet=True) is None
    assert quiet.hear(1500, 1000, quiet=True) is None
    assert quiet.hear(1600, 1000, quiet=True) == (600, 1600)
    assert quiet.hear(1700, 1000, quiet=True) is None  # it begins anew


def test_a_word_or_no_limit_begins_the_time_anew() -> None:
    quiet = IdleTimer()
    quiet.hear(0, 1000, quiet=True)
    quiet.hear(900, 1000, quiet=False)
    assert quiet.hear(1000, 1000, quiet=True) is None
    assert quiet.hear(1900, None, quiet=True) is None
    assert quiet.hear(2000, 1000, quiet=True) is None
    assert quiet.hear(3000, 1000, quiet=True) == (2000, 3000)


def configured(talk: Talk, **more: object) -> None:
    detection = {"type": "server_vad", "silence_duration_ms": 300, "idle_timeout_ms": LIMIT_MS}
    hear = {"turn_detection": {**detection, **more}}
    talk.send("session.update", session={"type": "realtime", "audio": {"input": hear}})
    told = talk.until("session.updated")[-1]["session"]["audio"]["input"]["turn_detection"]
    assert told["idle_timeout_ms"] == LIMIT_MS


def spoken_turn(talk: Talk) -> None:
    talk.hear(0.6, level=0.3)
    talk.hear(0.5)
    talk.until("response.done")


def test_long_silence_after_an_answer_is_committed_and_answered(connect: Connect) -> None:
    engine, clock = ScriptedEngine([ANSWER, AGAIN]), FixedClock()
    with talking(connect(engine=engine, detector=EnergyTurnDetector(), clock=clock)) as talk:
        configured(talk)
        spoken_turn(talk)
        clock.now += 10  # the answer has been played
        talk.hear(2.2)
        events = talk.until("response.done")
    triggered, committed = events[0], events[1]
    assert kinds(events)[:5] == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    assert triggered["item_id"] == committed["item_id"] == events[2]["item"]["id"]
    length_ms = triggered["audio_end_ms"] - triggered["audio_start_ms"]
    assert LIMIT_MS <= length_ms < LIMIT_MS + 150
    assert sound(events) > 0
    assert len(engine.requests) == 2


def test_the_time_begins_when_the_sound_has_been_played(connect: Connect) -> None:
    clock = FixedClock()
    client = connect([ANSWER, AGAIN], detector=EnergyTurnDetector(), clock=clock)
    with talking(client) as talk:
        configured(talk)
        spoken_turn(talk)
        talk.hear(3.0)  # while the answer is still being played
        talk.send("input_audio_buffer.clear")
        assert talk.next()["type"] == "input_audio_buffer.cleared"


def test_nobody_is_spoken_to_before_the_first_answer(connect: Connect) -> None:
    with talking(connect([ANSWER], detector=EnergyTurnDetector())) as talk:
        configured(talk)
        talk.hear(3.0)
        talk.send("input_audio_buffer.clear")
        assert talk.next()["type"] == "input_audio_buffer.cleared"


def test_without_create_response_the_silence_is_only_committed(connect: Connect) -> None:
    engine, clock = ScriptedEngine([ANSWER]), FixedClock()
    with talking(connect(engine=engine, detector=EnergyTurnDetector(), clock=clock)) as talk:
        configured(talk, create_response=False)
        talk.hear(0.6, level=0.3)
        talk.hear(0.5)
        talk.until("input_audio_buffer.committed")
        talk.send("response.create")
        talk.until("response.done")
        clock.now += 10
        talk.hear(2.2)
        talk.send("input_audio_buffer.clear")
        events = talk.until("input_audio_buffer.cleared")
    assert events[0]["type"] == "input_audio_buffer.timeout_triggered"
    assert "response.created" not in kinds(events)


@pytest.mark.parametrize("wrong", [10, 700_000, "soon"])
def test_a_timeout_out_of_range_is_refused(connect: Connect, wrong: object) -> None:
    with talking(connect(detector=EnergyTurnDetector())) as talk:
        hear = {"turn_detection": {"type": "server_vad", "idle_timeout_ms": wrong}}
        error = talk.error("session.update", session={"audio": {"input": hear}})
    assert error["param"] == "session.audio.input.turn_detection.idle_timeout_ms"
