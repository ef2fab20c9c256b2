import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from step_audio.core.errors import AudioError
from step_audio.core.types import Pcm
from step_audio.dialog.turns.input_audio import (
    Detection,
    Paused,
    Started,
    Stopped,
    TurnAudio,
    TurnEvent,
)
from step_audio.dialog.turns.utterance import SpokenQuestion
from tests.fakes import CountingTokenizer, group
from tokenizer.turns import Thresholds, TurnStream, TurnTiming
from tokenizer.vad import EnergyTurnDetector

RATE = 24_000
NOISE = np.random.default_rng(0).uniform(-0.3, 0.3, RATE * 10).astype(np.float32)


class LevelTurns:
    """A detector with Silero's frames of 32 ms, by level alone."""

    sample_rate_hz = 16_000

    def open(self, *, silence_ms: int | None = None, threshold: float | None = None) -> TurnStream:
        timing = TurnTiming().ending_after(silence_ms)
        return TurnStream(
            lambda frame: float(np.abs(frame).max()), 512, 32, Thresholds(0.5, 0.35), timing
        )


def speech(ms: int) -> Pcm:
    return NOISE[: ms * RATE // 1000]


def silence(ms: int) -> Pcm:
    return np.zeros(ms * RATE // 1000, np.float32)


def turn_audio(detection: Detection | None = None, max_s: float = 60.0) -> TurnAudio:
    made = TurnAudio(CountingTokenizer(), RATE, EnergyTurnDetector(), max_s=max_s)
    made.detect(detection)
    return made


def hear(listener: TurnAudio, *sounds: Pcm) -> list[TurnEvent]:
    whole = np.concatenate(sounds)
    return [e for at in range(0, len(whole), 480) for e in listener.push(whole[at : at + 480])]


def test_a_turn_starts_pauses_and_stops_with_its_prefix() -> None:
    listener = turn_audio(Detection(prefix_ms=200))
    started, paused, stopped = hear(listener, silence(1000), speech(600), silence(800))
    assert isinstance(started, Started)
    assert isinstance(paused, Paused)
    assert isinstance(stopped, Stopped)
    assert started.at_ms == pytest.approx(800, abs=40)
    assert paused.at_ms == stopped.at_ms == pytest.approx(1600, abs=80)
    assert not paused.guess
    assert stopped.duration_s == pytest.approx(0.2 + 0.6 + 0.5, abs=0.1)
    assert 0 <= len(stopped.question.groups) * 0.12 - (stopped.duration_s - 0.26) < 0.12
    assert not listener.speaking


@pytest.mark.parametrize("silence_ms", [500, 2000])
def test_a_question_is_the_same_guessed_at_or_not_however_long_its_end_is(silence_ms: int) -> None:
    found = []
    for guess in (True, False):
        detection = Detection(silence_ms=silence_ms, guess=guess)
        stopped = hear(turn_audio(detection), speech(600), silence(2500))[-1]
        assert isinstance(stopped, Stopped)
        found.append(stopped.question.groups)
    assert found[0] == found[1]
    assert 0.6 <= len(found[0]) * 0.12 < 0.6 + 0.24 + 0.2


def test_a_guess_has_the_groups_that_the_turn_then_ends_with() -> None:
    _, paused, stopped = hear(turn_audio(Detection(guess=True)), speech(600), silence(800))
    assert isinstance(paused, Paused)
    assert isinstance(stopped, Stopped)
    assert paused.guess
    assert paused.question == stopped.question != SpokenQuestion()


def test_speech_after_a_pause_is_the_same_turn_and_spoils_the_guess() -> None:
    listener = turn_audio(Detection(guess=True))
    events = hear(listener, speech(600), silence(340), speech(600), silence(800))
    assert [type(e) for e in events] == [Started, Paused, Started, Paused, Stopped]
    assert [e.again for e in events if isinstance(e, Started)] == [False, True]
    first, last = (e.question.groups for e in events if isinstance(e, Paused))
    assert last[: len(first)] == first
    assert len(last) > len(first)


def test_a_turn_may_be_ended_in_its_pause_and_the_next_one_is_another() -> None:
    listener = turn_audio(Detection(guess=True, silence_ms=3000))
    hear(listener, speech(600), silence(200))
    assert listener.silent_ms == 0
    hear(listener, silence(400))
    assert listener.silent_ms == pytest.approx(600, abs=80)
    stopped = listener.end()
    assert stopped.at_ms == pytest.approx(600, abs=80)
    assert stopped.question.groups
    assert not listener.speaking
    assert listener.silent_ms == 0
    started, *_ = hear(listener, silence(300), speech(600), silence(400))
    assert isinstance(started, Started)
    assert not started.again


def test_two_turns_share_no_sound() -> None:
    listener = turn_audio(Detection(prefix_ms=1000))
    events = hear(listener, speech(600), silence(540), speech(600), silence(800))
    total_s = sum(e.duration_s for e in events if isinstance(e, Stopped))
    assert total_s <= 0.6 + 0.54 + 0.6 + 0.8
    assert sum(isinstance(e, Stopped) for e in events) == 2


def test_a_turn_that_never_ends_is_ended() -> None:
    listener = turn_audio(Detection(), max_s=1.0)
    events = hear(listener, speech(2500))
    stops = [e for e in events if isinstance(e, Stopped)]
    assert len(stops) == 2
    assert all(stop.duration_s <= 1.0 for stop in stops)


def test_without_detection_the_caller_ends_the_question() -> None:
    listener = turn_audio(None, max_s=1.0)
    assert hear(listener, speech(500)) == []
    assert listener.duration_ms == 500
    taken = listener.take()
    assert taken == (SpokenQuestion(tuple(group(n) for n in range(5))), 0.5)
    assert listener.take() is None
    with pytest.raises(AudioError, match="1 s"):
        listener.push(speech(1500))


def test_a_change_of_mind_drops_the_turn_and_time_goes_on() -> None:
    listener = turn_audio(Detection())
    hear(listener, speech(500))
    listener.detect(Detection())
    still = listener.speaking
    listener.detect(Detection(silence_ms=300))
    assert (still, listener.speaking) == (True, False)
    (started, *_) = hear(listener, silence(500), speech(500), silence(400))
    assert started.at_ms == pytest.approx(1000 - 300, abs=40)


@given(cuts=st.lists(st.integers(1, 2400), min_size=1, max_size=8))
@settings(deadline=None, max_examples=10)
def test_turns_do_not_care_how_the_sound_is_cut(cuts: list[int]) -> None:
    whole = np.concatenate((silence(300), speech(500), silence(700)))
    listener, events, at = turn_audio(Detection()), list[TurnEvent](), 0
    while at < len(whole):
        step = cuts[len(events) % len(cuts)]
        events += listener.push(whole[at : at + step])
        at += step
    wanted = hear(turn_audio(Detection()), silence(300), speech(500), silence(700))
    assert [(type(e), e.at_ms) for e in events] == [(type(e), e.at_ms) for e in wanted]


@pytest.mark.parametrize("lead", range(0, 13_000, 2_560))
def test_speech_that_resumes_in_the_push_that_ended_a_turn_starts_the_next_one(lead: int) -> None:
    """People pause for about `silence_ms`: a turn's end and the next one's start in one push."""
    rate = 16_000
    both = 0
    for pause_ms in range(496, 620, 4):
        listener = TurnAudio(CountingTokenizer(), rate, LevelTurns())
        listener.detect(Detection(silence_ms=500, prefix_ms=100))
        one = np.ones(rate, np.float32)
        gap = np.zeros(pause_ms * rate // 1000, np.float32)
        sound = np.concatenate([np.zeros(lead, np.float32), one, gap, one])
        found = [
            e for at in range(0, len(sound), 1600) for e in listener.push(sound[at : at + 1600])
        ]
        starts = [e for e in found if isinstance(e, Started) and not e.again]
        if len(starts) == 2:
            both += 1
            # The second turn has its first word: of the push that ended the first one, at most
            # the piece of 20 ms is lost in which that was decided.
            second = (lead + rate + len(gap)) * 1000 // rate
            assert starts[1].at_ms <= second + 20
            assert listener.duration_ms >= 980
    assert both
