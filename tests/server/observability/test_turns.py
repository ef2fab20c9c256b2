"""Turns of hand-written events."""

import base64
from typing import Any

import pytest

from server.observability.meter import TurnMeter
from server.observability.turns import TurnReader, TurnTimes
from tests.fakes import MemoryRecorder

Event = dict[str, Any]


def created(name: str = "r", **response: Any) -> Event:
    return {"type": "response.created", "response": {"id": name, **response}}


def sound(ms: int, name: str = "r", *, per_ms: int = 48, kind: str = "output_audio") -> Event:
    delta = base64.b64encode(bytes(ms * per_ms)).decode()
    return {"type": f"response.{kind}.delta", "response_id": name, "delta": delta}


def done(status: str = "completed", name: str = "r") -> Event:
    return {"type": "response.done", "response": {"id": name, "status": status}}


COMMITTED = {"type": "input_audio_buffer.committed", "item_id": "i"}
STARTED = {"type": "input_audio_buffer.speech_started", "item_id": "j"}


def read(*timed: tuple[float, Event]) -> list[TurnTimes]:
    reader = TurnReader()
    return [turn for now_s, event in timed if (turn := reader.read(event, now_s))]


def test_a_turn_in_time() -> None:
    (turn,) = read(
        (1.0, COMMITTED), (1.0, created()), (1.2, sound(500)), (1.5, sound(500)), (1.6, done())
    )
    assert (turn.committed_s, turn.first_sound_s, turn.last_sound_s) == (1.0, 1.2, 1.5)
    assert (turn.sound_s, turn.dry_s, turn.status) == (1.0, [], "completed")


def test_late_sound_is_an_underrun_and_moves_the_playback_clock() -> None:
    (turn,) = read(
        (0.0, created()),
        (0.0, sound(100)),
        (0.3, sound(100)),  # 200 ms late
        (0.39, sound(100)),  # in time after that
        (0.9, sound(100)),  # 400 ms late
        (1.0, done()),
    )
    assert turn.dry_s == pytest.approx([0.2, 0.4])


@pytest.mark.parametrize(
    ("response", "per_ms"),
    [
        ({}, 48),
        ({"audio": {"output": {"format": {"type": "audio/pcm", "rate": 24000}}}}, 48),
        ({"audio": {"output": {"format": {"type": "audio/pcmu"}}}}, 8),
        ({"output_audio_format": "pcm16"}, 48),
        ({"output_audio_format": "g711_alaw"}, 8),
    ],
)
def test_lengths_follow_the_format(response: Event, per_ms: int) -> None:
    (turn,) = read((0.0, created(**response)), (0.0, sound(125, per_ms=per_ms)), (0.0, done()))
    assert turn.sound_s == pytest.approx(0.125)


def test_the_beta_shape_is_read_too() -> None:
    (turn,) = read((0.0, created()), (0.5, sound(100, kind="audio")), (1.0, done()))
    assert turn.first_sound_s == 0.5


def test_the_meter_observes_what_a_turn_showed() -> None:
    recorder = MemoryRecorder()
    meter = TurnMeter(recorder, 0.0)
    for now_s, event in (
        (1.0, COMMITTED),
        (1.0, created()),
        (1.2, sound(100)),
        (1.5, sound(100)),
        (1.6, STARTED),
        (1.65, sound(100)),
        (1.7, done("cancelled")),
    ):
        meter.sent(event, now_s)
    meter.ended(9.0)
    seen = dict(recorder.seen)
    assert seen["turns.cancelled"] == 1
    dry_s = [value for name, value in recorder.seen if name == "underrun_s"]
    assert dry_s == pytest.approx([0.2, 0.05])
    assert seen["turn_first_audio_s"] == pytest.approx(0.2)
    assert seen["barge_in_silence_s"] == pytest.approx(0.05)
    assert seen["session_s"] == 9.0


def test_speech_that_does_not_end_an_answer_is_no_barge_in() -> None:
    recorder = MemoryRecorder()
    meter = TurnMeter(recorder, 0.0)
    for now_s, event in ((0.0, created()), (0.1, STARTED), (5.0, sound(100)), (5.0, done())):
        meter.sent(event, now_s)
    assert "barge_in_silence_s" not in dict(recorder.seen)


def test_a_response_without_a_spoken_question_has_no_first_audio() -> None:
    recorder = MemoryRecorder()
    meter = TurnMeter(recorder, 0.0)
    for event in (created(), sound(100), done()):
        meter.sent(event, 0.0)
    assert "turn_first_audio_s" not in dict(recorder.seen)
