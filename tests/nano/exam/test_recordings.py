"""The probe on people's own recordings says what was heard, whoever speaks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from step_audio.core.audio import read_audio, write_wav
from step_audio.core.error_rates import error_rate, units
from step_audio.core.errors import EngineError, InputError
from step_audio.core.types import Pcm
from step_audio.eval.examinee import AnswerRecord
from step_audio.nano.exam.recordings import find, probe, summary, write

RATE = 16_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, said in (("ann/1", "what time is it"), ("ann/2", "tell a joke"), ("bob/1", "stop")):
        path = tmp_path / "voices" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_wav(path, np.full(len(said) * 100, 0.1, np.float32), RATE)
        path.with_suffix(".txt").write_text(said + "\n")
    return tmp_path / "voices"


def answerer(pcm: Pcm, rate_hz: int) -> AnswerRecord:
    if len(pcm) == 400:
        raise EngineError("broken")
    heard = "what time is it" if len(pcm) == 1500 else "sell a yoke"
    return AnswerRecord(heard, "Sorry, I did not understand." if heard[0] == "s" else "Noon.")


def test_each_speaker_gets_figures_and_each_recording_a_row(folder: Path, tmp_path: Path) -> None:
    rows = probe(folder, answerer, lambda pcm, rate: "stop")
    page = write(rows, tmp_path / "out")
    whole = json.loads((tmp_path / "out" / "recordings.json").read_text())
    ann, bob = whole["speakers"]["ann"], whole["speakers"]["bob"]
    assert (ann["word_errors"], ann["heard_exactly"], ann["refused"]) == (0.286, 0.5, 0.5)
    assert (bob["word_errors"], bob["failed"], bob["recogniser_word_errors"]) == (1.0, 1, 0.0)
    assert whole["speakers"]["all"]["recordings"] == 3
    assert "| ann/2.wav | tell a joke | sell a yoke | Sorry, I did not understand. | 0.67 |" in page


def test_a_recording_without_its_transcript_is_named(folder: Path) -> None:
    (folder / "bob" / "1.txt").unlink()
    with pytest.raises(InputError, match=r"write what is said into 1\.txt"):
        probe(folder, answerer)


def test_errors_count_characters_where_words_have_no_spaces() -> None:
    assert units("It's 5 o'clock, 你好！") == ["it's", "5", "o'clock", "你", "好"]
    assert error_rate("你好吗", "你好") == pytest.approx(1 / 3)
    assert error_rate("", "") == 0.0
    assert error_rate("", "a") == 1.0


def test_a_recording_that_is_too_long_is_a_row_and_nobody_is_asked_twice(
    folder: Path, tmp_path: Path
) -> None:
    asked = []

    def answering(pcm: Pcm, rate_hz: int) -> AnswerRecord:
        asked.append(len(pcm))
        return AnswerRecord("words", "an answer")

    count = len(find(folder))
    shortest = min(read_audio(path, 30.0)[0].size / RATE for path, _ in find(folder))
    store = tmp_path / "rows.jsonl"
    rows = probe(folder, answering, max_seconds=shortest / 2, store=store, model="a")
    assert [row.failure[:9] for row in rows] == ["not asked"] * count
    assert summary(rows)["all"]["failed"] == count
    write(rows, tmp_path / "out")
    store.unlink()
    first = probe(folder, answering, store=store, model="a")
    assert probe(folder, answering, store=store, model="a") == first
    assert len(asked) == count
    probe(folder, answering, store=store, model="b")
    assert len(asked) == 2 * count
