"""The energy detector on built and on spoken sound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from step_audio.core.errors import ShapeError
from step_audio.core.types import SpeechEvent, SpeechEventKind
from tests import laws
from tests.tokenizer import golden
from tokenizer.turns import TurnTiming
from tokenizer.vad import EnergyTurnDetector

RNG = np.random.default_rng(3)
STARTED, PAUSED, STOPPED = SpeechEventKind.STARTED, SpeechEventKind.PAUSED, SpeechEventKind.STOPPED


def noise(ms: int, db: float) -> NDArray[np.float32]:
    return (10 ** (db / 20) * RNG.standard_normal(16 * ms)).astype(np.float32)


def events(*parts: NDArray[np.float32]) -> list[SpeechEvent]:
    got: list[SpeechEvent] = laws.run(EnergyTurnDetector().open(), parts).tolist()
    return got


def kinds(found: list[SpeechEvent]) -> list[SpeechEventKind]:
    return [event.kind for event in found]


@pytest.mark.parametrize("room_db", [-90, -65, -50])
def test_a_word_in_a_room_starts_and_ends_where_it_is(room_db: float) -> None:
    found = events(noise(1000, room_db), noise(600, -20), noise(900, room_db))
    assert kinds(found) == [STARTED, PAUSED, STOPPED]
    assert [event.at_ms for event in found] == pytest.approx([1000, 1600, 1600], abs=60)


def test_speech_from_the_first_sample_on_is_heard() -> None:
    assert events(noise(500, -25), noise(800, -60))[0] == SpeechEvent(STARTED, 0)


def test_a_short_gap_is_no_pause_and_a_longer_one_is_not_the_end() -> None:
    room = -60
    parts = [noise(500, room), noise(400, -20), noise(150, room), noise(400, -20)]
    parts += [noise(350, room), noise(400, -20), noise(900, room)]
    assert kinds(events(*parts)) == [STARTED, PAUSED, STARTED, PAUSED, STOPPED]


def test_a_click_is_not_speech() -> None:
    assert events(noise(1000, -60), noise(30, -6), noise(1000, -60)) == []


def test_steady_noise_stops_counting_as_speech() -> None:
    found = events(noise(500, -70), noise(6000, -35))
    assert kinds(found) == [STARTED, PAUSED, STOPPED]
    assert events(noise(500, -70), noise(6000, -35), noise(500, -12))[-2].kind is STARTED


@pytest.mark.parametrize("silent", [0.0, 1e-5])
def test_silence_says_nothing(silent: float) -> None:
    assert events(np.full(48000, silent, dtype=np.float32)) == []


@pytest.mark.parametrize("clip", golden.CLIPS)
def test_a_spoken_sentence_is_one_turn(clip: str) -> None:
    pcm = golden.sound(clip)
    found = events(
        noise(500, -65), pcm + noise(1 + len(pcm) // 16, -65)[: len(pcm)], noise(900, -65)
    )
    assert kinds(found)[0] is STARTED
    assert kinds(found)[-2:] == [PAUSED, STOPPED]
    assert kinds(found).count(STOPPED) == 1


def test_the_end_of_the_sound_ends_the_turn() -> None:
    assert kinds(events(noise(500, -60), noise(500, -20))) == [STARTED, STOPPED]
    pcm = np.concatenate((noise(500, -60), noise(500, -20)))
    laws.flush_is_final_and_total(EnergyTurnDetector().open, pcm, expected=2)


@given(cuts=st.lists(st.integers(0, 26145), max_size=8))
@settings(deadline=None, max_examples=20)
def test_events_do_not_care_how_the_sound_is_cut(cuts: list[int]) -> None:
    laws.chunking_is_invisible(EnergyTurnDetector().open, golden.sound("en_5"), cuts)


def test_detector_streams_are_isolated() -> None:
    pcm = golden.sound("en_5")
    laws.streams_are_isolated(EnergyTurnDetector().open, pcm, pcm[::-1].copy())


def test_impossible_timing_is_refused() -> None:
    with pytest.raises(ShapeError, match="pause < silence"):
        TurnTiming(pause_ms=500, silence_ms=500)
