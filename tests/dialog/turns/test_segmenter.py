from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest

from step_audio.core.ports import Stage
from step_audio.core.types import Pcm, SpeechEvent, SpeechEventKind
from step_audio.dialog.turns.segmenter import Segmenter

RATE_HZ = 16_000


class Loudness:
    """A detector for tests: what is not zero is speech, told at once."""

    sample_rate_hz = RATE_HZ

    def open(
        self, *, silence_ms: int | None = None, threshold: float | None = None
    ) -> Stage[Pcm, SpeechEvent]:
        return _Loudness()


class _Loudness:
    def __init__(self) -> None:
        self._at, self._loud = 0, False

    def push(self, pcm: Pcm, /) -> Iterable[SpeechEvent]:
        out = []
        for sample in pcm[:: RATE_HZ // 100]:
            if (abs(float(sample)) > 0) != self._loud:
                self._loud = not self._loud
                kind = SpeechEventKind.STARTED if self._loud else SpeechEventKind.STOPPED
                out.append(SpeechEvent(kind, self._at))
            self._at += 10
        return out

    def flush(self) -> Iterable[SpeechEvent]:
        return ()


def segments(
    *lengths_s: tuple[float, bool], max_s: float = 10.0, detector: Loudness | None
) -> list[tuple[float, float]]:
    parts = [np.full(int(s * RATE_HZ), 0.1 if loud else 0, np.float32) for s, loud in lengths_s]
    pcm = np.concatenate(parts)
    segmenter = Segmenter(detector, RATE_HZ, max_s)
    for start in range(0, len(pcm), RATE_HZ):
        segmenter.push(pcm[start : start + RATE_HZ])
    return [(round(s.start_s, 2), round(s.end_s, 2)) for s in segmenter.finish()]


def test_speech_is_found_with_a_little_around_it() -> None:
    found = segments((1, False), (2, True), (1, False), (1, True), (1, False), detector=Loudness())
    assert found == [(0.8, 3.2), (3.8, 5.2)]


def test_segments_never_overlap() -> None:
    found = segments((1, True), (0.1, False), (1, True), detector=Loudness())
    assert found == [(0.0, 1.05), (1.05, 2.1)]


def test_speech_that_goes_on_to_the_end_is_kept() -> None:
    assert segments((1, False), (1, True), detector=Loudness()) == [(0.8, 2.0)]


def test_silence_has_no_segments() -> None:
    assert segments((3, False), detector=Loudness()) == []


def test_family_6_long_speech_is_cut_where_it_is_quietest_and_never_within_a_word() -> None:
    # Words of 300 ms, 40 ms closures in their middle, and 120 ms behind every seventh.
    rng = np.random.default_rng(6)
    sound: list[np.ndarray] = []
    for word in range(170):
        half = 0.1 * rng.standard_normal(int(0.13 * RATE_HZ))
        closure, breath = (0.001 * rng.standard_normal(int(s * RATE_HZ)) for s in (0.04, 0.12))
        sound += [half, closure, half]
        sound += [breath] if word % 7 == 3 else []
    hum = 0.05 * np.sin(2 * np.pi * 50 * np.arange(sum(map(len, sound))) / RATE_HZ)
    pcm = (np.concatenate(sound) + hum).astype(np.float32)
    at = np.cumsum([0, *map(len, sound)]) / RATE_HZ
    breaths = [(at[n], at[n + 1]) for n, part in enumerate(sound) if len(part) == 1920]
    segmenter = Segmenter(None, RATE_HZ, 10.0)
    for start in range(0, len(pcm), 7777):
        segmenter.push(pcm[start : start + 7777])
    found = segmenter.finish()
    assert len(found) > len(pcm) / RATE_HZ / 10
    assert found[0].start_s == 0
    assert found[-1].end_s == len(pcm) / RATE_HZ
    for before, after in pairwise(found):
        assert before.end_s == after.start_s
        assert 5.9 < before.end_s - before.start_s <= 10
        assert any(begin <= before.end_s <= end for begin, end in breaths), before.end_s


def test_family_6_sound_without_any_pause_is_cut_at_the_limit() -> None:
    found = segments((25, True), detector=Loudness())
    assert [end - start <= 10 for start, end in found] == [True] * len(found)
    assert found[0][0] == 0
    assert found[-1][1] == 25.0
    assert len(found) == 3


@pytest.mark.parametrize("seconds", [4.0, 10.0])
def test_without_a_detector_everything_is_speech(seconds: float) -> None:
    assert segments((seconds, False), detector=None) == [(0.0, seconds)]
