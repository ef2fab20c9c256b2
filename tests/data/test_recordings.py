"""Recordings are cut once, by any number of processes, and a broken one stops nobody."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from step_audio.core.audio import wav_bytes
from step_audio.core.json_lines import read_rows
from step_audio.core.types import Pcm
from step_audio.data.manifest import read_utterances
from step_audio.data.recordings import Cutter, Origin, segment
from step_audio.data.segment import Cuts, plan_cuts
from tests.data.sounds import RATE, tone
from tokenizer.turns import TurnTiming
from tokenizer.vad import EnergyTurnDetector

ANN = Origin("ann", "CC0")


def guess(pcm: Pcm, rate_hz: int) -> str:
    return "guess"


def cutter() -> Cutter:
    """What cuts here and in other processes."""
    return Cutter(EnergyTurnDetector(TurnTiming()), guess)


@pytest.fixture
def recordings(tmp_path: Path) -> list[Path]:
    """Two utterances with pauses, and one whose text is known."""
    quiet = np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32) * 1e-4
    sound = np.concatenate([quiet, tone(1.5), quiet, tone(1.0, 300), quiet])
    (tmp_path / "talk.wav").write_bytes(wav_bytes(sound, RATE))
    (tmp_path / "known.wav").write_bytes(wav_bytes(tone(1.2), RATE))
    (tmp_path / "known.txt").write_text("hello there\n")
    return [tmp_path / "talk.wav", tmp_path / "known.wav"]


def test_recordings_keep_their_text_place_and_licence(
    tmp_path: Path, recordings: list[Path]
) -> None:
    root = tmp_path / "set"
    assert segment(root, recordings, cutter, ANN) == (3, 0)
    utterances = read_utterances(root)
    assert [u.text for u in utterances] == ["guess", "guess", "hello there"]
    assert {u.source["licence"] for u in utterances} == {"CC0"}
    assert utterances[1].source["span_ms"][0] == pytest.approx(5500, abs=120)
    assert [u.source["text"]["by"] for u in utterances] == [
        *("recogniser", "recogniser", "transcript")
    ]


def test_what_was_cut_is_not_listened_to_again(tmp_path: Path, recordings: list[Path]) -> None:
    root = tmp_path / "set"
    segment(root, recordings[:1], cutter, ANN)
    heard = []

    def listen(pcm: Pcm, rate_hz: int) -> str:
        heard.append(len(pcm))
        return "again"

    (tmp_path / "more.wav").write_bytes(wav_bytes(tone(1.0, 500), RATE))
    again = [*recordings, tmp_path / "more.wav"]
    made = segment(root, again, lambda: Cutter(EnergyTurnDetector(TurnTiming()), listen), ANN)
    assert made == (2, 0)
    assert len(heard) == 1
    # A cut-off between a recording's segments: those that are there stay, the others come.
    lines = (root / "utterances.jsonl").read_text().splitlines(keepends=True)
    (root / "utterances.jsonl").write_text(lines[0])
    (root / "recordings.jsonl").unlink()
    assert segment(root, again, cutter, ANN) == (3, 0)


def test_a_broken_recording_is_named_and_tried_again(
    tmp_path: Path, recordings: list[Path]
) -> None:
    root, broken = tmp_path / "set", tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    files = [broken, *recordings]
    assert segment(root, files, cutter, ANN) == (3, 1)
    (reason,) = [
        row["unreadable"] for row in read_rows(root / "recordings.jsonl") if "unreadable" in row
    ]
    assert "broken.wav" in reason
    broken.write_bytes(wav_bytes(tone(1.0, 400), RATE))
    assert segment(root, files, cutter, ANN) == (1, 0)


def test_two_processes_cut_as_one_does(tmp_path: Path, recordings: list[Path]) -> None:
    assert segment(tmp_path / "one", recordings, cutter, ANN) == (3, 0)
    assert segment(tmp_path / "two", recordings, cutter, ANN, workers=2) == (3, 0)
    assert read_utterances(tmp_path / "one") == read_utterances(tmp_path / "two")


def test_segments_are_joined_over_short_pauses_and_never_too_long() -> None:
    spans = [(0, 900), (1100, 2000), (3000, 3200), (5000, 25_000)]
    assert plan_cuts(spans, Cuts(600, 10_000, 400)) == [(0, 2000), (5000, 15_000), (15_000, 25_000)]
