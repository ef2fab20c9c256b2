"""Sounds are measured once and judged by any bounds; every rejection has its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from step_audio.core.errors import InputError
from step_audio.core.json_lines import RowWriter, read_rows
from step_audio.core.types import Pcm
from step_audio.data import filter as sieve
from step_audio.data.gates import ALL, HIGH, UtteranceGate, speaker_count, with_bounds
from step_audio.data.manifest import SpokenUtterance, TextLine, read_lines, read_utterances
from step_audio.data.pack import tokens
from step_audio.data.readers import SpokenLine
from step_audio.data.speak import speak
from step_audio.data.write import write
from tests.data.sounds import PLAIN, RATE, ToneReader, gate, tone
from tests.fakes import CountingTokenizer
from tokenizer.turns import TurnTiming
from tokenizer.vad import EnergyTurnDetector


def test_an_utterance_carries_its_provenance_and_notices_alteration(spoken: Path) -> None:
    lines = {line.id: line for line in read_lines(spoken)}
    for utterance in read_utterances(spoken):
        assert utterance.text == lines[utterance.id].text
        assert utterance.source["engine"] == "tone"
        assert utterance.source["text"] == lines[utterance.id].source
        assert len(utterance.read(spoken)[0]) == pytest.approx(utterance.seconds * RATE, abs=9)
    first, second = read_utterances(spoken)[:2]
    (spoken / first.file).write_bytes((spoken / second.file).read_bytes())
    with pytest.raises(InputError, match="altered"):
        first.read(spoken)
    (spoken / second.file).unlink()
    sieve.measure(spoken, gate)
    assert sieve.judge(spoken) == {"unreadable": 2, "error_rate": 2}
    reasons = [row["rejected"][0]["reason"] for row in read_rows(spoken / "verdicts.jsonl")]
    assert reasons[0] == f"{first.file} was altered since it was written"
    assert reasons[1].startswith(f"no file {second.file}")


def test_every_rejection_has_its_reason(spoken: Path) -> None:
    assert sieve.measure(spoken, gate) == 4
    assert sieve.measure(spoken, gate) == 0
    counts = sieve.judge(spoken)
    assert counts == {"error_rate": 4}
    for verdict in read_rows(spoken / "verdicts.jsonl"):
        (rejected,) = verdict["rejected"]
        assert rejected["reason"] == "recognition error rate 1, wanted at most 0.35"
    # Other bounds judge the same scores again.
    assert sieve.judge(spoken, with_bounds(ALL, ["error_rate<=1"])) == {"passed": 4}


def test_scores_of_ones_own_are_added_to_those_measured(spoken: Path) -> None:
    """Brought before or after the measuring, they replace one score and no other."""
    first, second, *_ = read_utterances(spoken)
    with RowWriter(spoken / "scores.jsonl") as rows:
        rows.add({"id": first.id, "error_rate": 0.0})
    assert sieve.measure(spoken, gate) == 4
    with RowWriter(spoken / "scores.jsonl") as rows:
        rows.add({"id": second.id, "error_rate": 0.0})
    assert sieve.measure(spoken, gate) == 0
    strict = with_bounds(ALL, ["level_db<=-60"])
    assert sieve.judge(spoken, strict) == {"level_db": 4, "error_rate": 2}
    assert sieve.accepted(spoken, strict) == []
    assert len(sieve.accepted(spoken, ALL)) == 2


def test_a_sound_that_was_replaced_is_measured_and_encoded_again(spoken: Path) -> None:
    bounds = with_bounds(ALL, ["error_rate<=1"])
    sieve.measure(spoken, gate)
    before = tokens(spoken, sieve.accepted(spoken, bounds), CountingTokenizer, "fake")
    first = read_utterances(spoken)[0]
    for name in ("utterances.jsonl", first.file):
        (spoken / name).unlink()

    class Longer(ToneReader):
        def read(self, line: TextLine) -> SpokenLine:
            said = super().read(line)
            return replace(said, pcm=np.concatenate([said.pcm, said.pcm]))

    speak(spoken, Longer())
    assert sieve.accepted(spoken, bounds) == []
    assert sieve.measure(spoken, gate) == 4
    after = tokens(spoken, sieve.accepted(spoken, bounds), CountingTokenizer, "fake")
    assert len(after[first.id]) > len(before[first.id])


def test_a_recogniser_of_another_language_measures_nothing() -> None:
    sound = tone(1.0)
    utterance = SpokenUtterance("id", "你好", "", "", 0.0, "tone", language="zh")
    english = UtteranceGate(
        EnergyTurnDetector(TurnTiming()), lambda pcm, rate: "knee how", language="en"
    )
    assert english.measure(utterance, sound, RATE)["error_rate"] is None
    assert english.measure(replace(utterance, language="en"), sound, RATE)["error_rate"] == 1.0


def test_gates_hear_what_is_wrong_with_a_sound() -> None:
    utterance = SpokenUtterance("id", "hello there", "", "", 0.0, "tone")
    pause = np.zeros(RATE, np.float32)
    good = np.concatenate([pause, tone(1.0), pause])
    scores = gate("hello there").measure(utterance, good, RATE)
    assert scores["error_rate"] == 0.0
    assert scores["speech"] == pytest.approx(1 / 3, abs=0.1)
    assert scores["level_db"] == pytest.approx(-13.5, abs=1.0)
    assert scores["speakers"] is None
    clipped = np.clip(good * 20, -1, 1)
    assert gate().measure(utterance, clipped, RATE)["clipped"] > 0.1
    assert gate().measure(utterance, pause + 1e-5, RATE)["speech"] == 0.0


def test_two_voices_are_two_speakers() -> None:
    def embed(pcm: Pcm) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        high = np.abs(np.fft.rfft(pcm))[: len(pcm) // 8].argmax() > 300 * len(pcm) / RATE
        return np.array([1.0, 0.1] if high else [0.1, -1.0], dtype=np.float32)

    one, two = tone(3.2, 150), tone(3.2, 700)
    assert speaker_count(one, RATE, embed) == 1
    assert speaker_count(np.concatenate([one, two]), RATE, embed) == 2
    assert speaker_count(one[:RATE], RATE, embed) is None


def test_the_second_of_equal_sounds_is_rejected(tmp_path: Path) -> None:
    same = [replace(PLAIN, answer=text) for text in ("hello there", "there hello")]
    write(tmp_path, same, ["TTS"])
    speak(tmp_path, ToneReader())
    sieve.measure(tmp_path, gate)
    assert sieve.judge(tmp_path, with_bounds(ALL, ["error_rate<=1"]))["copies"] == 1


def test_a_bound_that_does_not_exist_is_refused() -> None:
    assert with_bounds(HIGH, ["dnsmos>=3.1"])["dnsmos"].low == 3.1
    for bad in ("beauty>=3", "dnsmos=3", "dnsmos>=x"):
        with pytest.raises(InputError):
            with_bounds(ALL, [bad])
