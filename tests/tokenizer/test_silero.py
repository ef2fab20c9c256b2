"""Silero's detector: speech is found, noise is not, and its streams obey the laws."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from step_audio.core.errors import AudioError, WeightsError
from step_audio.core.types import SpeechEvent, SpeechEventKind
from tests import laws
from tests.tokenizer import golden
from tokenizer import silero
from tokenizer.silero import SileroTurnDetector

DETECTOR = SileroTurnDetector()
STARTED, PAUSED, STOPPED = SpeechEventKind.STARTED, SpeechEventKind.PAUSED, SpeechEventKind.STOPPED
CLIP = golden.sound("en_5")


def room(ms: int, db: float = -60.0) -> NDArray[np.float32]:
    rng = np.random.default_rng(3)
    return (10 ** (db / 20) * rng.standard_normal(16 * ms)).astype(np.float32)


def events(*parts: NDArray[np.float32]) -> list[SpeechEvent]:
    got: list[SpeechEvent] = laws.run(DETECTOR.open(), parts).tolist()
    return got


@pytest.mark.parametrize("clip", golden.CLIPS)
def test_a_spoken_sentence_is_one_turn_that_starts_and_ends_where_it_is(clip: str) -> None:
    pcm = golden.sound(clip)
    found = events(room(500), pcm, room(1200))
    assert found[0].kind is STARTED
    assert [event.kind for event in found[-2:]] == [PAUSED, STOPPED]
    assert [event.kind for event in found].count(STOPPED) == 1
    assert 450 <= found[0].at_ms <= 900
    assert abs(found[-1].at_ms - (500 + len(pcm) / 16)) < 500


@pytest.mark.parametrize("db", [-90.0, -40.0, -15.0])
def test_noise_is_not_speech_however_loud(db: float) -> None:
    assert events(room(3000, db)) == []


@pytest.mark.parametrize("level", [0.0, 0.4])
def test_silence_and_a_constant_say_nothing(level: float) -> None:
    assert events(np.full(32000, level, dtype=np.float32)) == []


def test_the_end_of_the_sound_ends_the_turn() -> None:
    assert [event.kind for event in events(room(300), CLIP[:16000])] == [STARTED, STOPPED]
    laws.flush_is_final_and_total(DETECTOR.open, CLIP[:16000], expected=2)


@given(cuts=st.lists(st.integers(0, len(CLIP)), max_size=8))
@settings(deadline=None, max_examples=8)
def test_events_do_not_care_how_the_sound_is_cut(cuts: list[int]) -> None:
    laws.chunking_is_invisible(DETECTOR.open, CLIP, cuts)


def test_detector_streams_are_isolated() -> None:
    laws.streams_are_isolated(DETECTOR.open, CLIP, CLIP[::-1].copy())


def test_what_is_no_sound_is_refused() -> None:
    with pytest.raises(AudioError):
        DETECTOR.open().push(np.array([np.nan], dtype=np.float32))


def test_a_missing_wheel_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silero, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"turn_detector\.kind to energy"):
        SileroTurnDetector()


def test_a_graph_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="expected"):
        SileroTurnDetector(path=golden.SPEAKER / "campplus.onnx")
    with pytest.raises(WeightsError, match="does not exist"):
        SileroTurnDetector(path=tmp_path / "none.onnx")


def test_neither_torch_nor_the_wheels_code_is_imported() -> None:
    program = (
        "import sys\n"
        "from tokenizer.silero import SileroTurnDetector\n"
        "SileroTurnDetector().open()\n"
        "print(sorted({'torch', 'torchaudio', 'silero_vad'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert result.stdout == "[]\n", result.stderr
