"""What the bench of emotions cuts out of natural speech, and what its classifier learns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("pyworld", reason="needs pyworld, which needs a C++ compiler")

from tests.bench.emotions import EMOTIONS, Classifier, Reading, inputs, utterances
from vocoder.grid import SAMPLE_RATE_HZ


def test_an_utterance_is_where_its_line_says_whatever_the_rate_of_the_file(tmp_path: Path) -> None:
    tones, rows = [], []
    for number, hz in enumerate((200, 300, 400)):
        tones.append(0.3 * np.sin(2 * np.pi * hz * np.arange(48_000) / 24_000))
        rows.append({"text": f"{hz}", "voice": "v", "start": 48_000 * number, "samples": 48_000})
    # Opus is decoded at 48 kHz; places are given at 24 kHz.
    soundfile.write(tmp_path / "a.ogg", np.concatenate(tones), 24_000, "OPUS", format="OGG")
    (tmp_path / "a.json").write_text(json.dumps({"rate": 24_000, "utterances": rows}))
    found = {text: (known, pcm) for _, text, known, pcm in utterances(tmp_path, 2, 1)}
    assert sorted(found) == ["200", "300", "400"]
    assert sum(known for known, _ in found.values()) == 1
    for text, (_, pcm) in found.items():
        assert len(pcm) == pytest.approx(2 * SAMPLE_RATE_HZ, abs=2)
        inside = pcm[2000:-2000]
        crossings = np.flatnonzero((inside[:-1] < 0) & (inside[1:] >= 0))
        assert SAMPLE_RATE_HZ / np.diff(crossings).mean() == pytest.approx(float(text), rel=0.01)


def test_a_voice_is_known_by_its_own_plain_readings() -> None:
    readings = [
        Reading(voice, f"{voice}{n}", "" if known else "sad2", known, np.full(10, base + n))
        for voice, base in (("a", 0.0), ("b", 100.0))
        for n, known in enumerate((True, True, True, False))
    ]
    values, judged = inputs(readings, relative=True)
    assert [reading.emotion for reading in judged] == [EMOTIONS.index("sad")] * 2
    np.testing.assert_array_equal(values, np.full((2, 10), 2.0))
    values, _ = inputs(readings, relative=False)
    np.testing.assert_array_equal(values[:, 0], [3.0, 103.0])


def test_the_classifier_tells_what_lies_apart() -> None:
    rng = np.random.default_rng(0)
    emotions = np.repeat(np.arange(len(EMOTIONS)), (10, 40, 40, 40))
    values = rng.normal(size=(len(emotions), 10))
    values[np.arange(len(emotions)), emotions] += 6
    learned = Classifier(values[::2], emotions[::2].tolist())
    assert np.mean(learned.told(values[1::2]) == emotions[1::2]) > 0.95
