"""What nano's ear hears over a socket is what it hears in the file."""

from pathlib import Path

import numpy as np
import pytest
import soxr

from step_audio.core.audio import read_audio
from step_audio.core.config import load_profile
from step_audio.core.ports import AudioTokenizer, TurnDetector
from step_audio.core.resampling import resample
from step_audio.core.types import Pcm, TokenGroup
from step_audio.dialog.turns.input_audio import Detection, Stopped, TurnAudio
from step_audio.dialog.turns.utterance import Utterance
from step_audio.runtime import Runtime

AUDIO = Path(__file__).parents[1] / "golden" / "audio"
RATE = 24_000
TAIL_GROUPS = 2
"""At the cut: the ear's right context, and the silence that the pause takes."""


@pytest.fixture(scope="module")
def ear() -> tuple[AudioTokenizer, TurnDetector]:
    runtime = Runtime(load_profile("nano"))
    return runtime.audio_tokenizer(), runtime.turn_detector()


def whole(ear: tuple[AudioTokenizer, TurnDetector], pcm: Pcm, rate: int) -> tuple[TokenGroup, ...]:
    question = Utterance(ear[0], rate)
    question.push(pcm)
    return question.finish().groups


def over_the_socket(ear: tuple[AudioTokenizer, TurnDetector], pcm: Pcm) -> tuple[TokenGroup, ...]:
    """Hear 24 kHz in chunks of 20 ms, as `TurnAudio` does, with the turn found by the detector."""
    listener = TurnAudio(ear[0], RATE, ear[1])
    listener.detect(Detection(silence_ms=500, threshold=0.5))
    sound = np.concatenate((pcm, np.zeros(RATE, np.float32)))
    heard = [e for at in range(0, len(sound), 480) for e in listener.push(sound[at : at + 480])]
    ends = [event for event in heard if isinstance(event, Stopped)]
    assert len(ends) == 1
    return ends[0].question.groups


@pytest.mark.parametrize("name", ["en_1", "en_2", "en_5"])
def test_the_detectors_cut_loses_no_group(
    ear: tuple[AudioTokenizer, TurnDetector], name: str
) -> None:
    pcm, rate = read_audio(AUDIO / f"{name}.wav")
    there = resample(pcm, rate, RATE)
    socket, file = over_the_socket(ear, there), whole(ear, there, RATE)
    kept = len(file) - TAIL_GROUPS
    assert socket[:kept] == file[:kept]
    assert len(file) <= len(socket) <= len(file) + TAIL_GROUPS


def test_another_rate_on_the_way_changes_few_codes(
    ear: tuple[AudioTokenizer, TurnDetector],
) -> None:
    moved, moved_without = [], []
    for name in ("en_1", "en_2", "en_5"):
        pcm, rate = read_audio(AUDIO / f"{name}.wav")
        # As clients do it who keep the top of the band; what they take away cannot come back.
        sent = np.asarray(soxr.resample(pcm, rate, RATE), dtype=np.float32)
        file, there = whole(ear, pcm, rate), whole(ear, sent, RATE)
        assert len(there) == len(file)
        at = np.arange(int(len(pcm) * RATE / rate)) * rate / RATE
        straight = np.interp(at, np.arange(len(pcm)), pcm).astype(np.float32)
        moved += changed(file, there)
        moved_without += changed(file, whole(ear, straight, RATE))
    # How many codes lie near a border is the weights' affair (noise at -60 dB moves half of them);
    # the filter's is to move far fewer than a path without one. One clip has too few to tell.
    assert sum(moved) <= 0.08 * len(moved)
    assert sum(moved) <= 0.25 * sum(moved_without)


def changed(one: tuple[TokenGroup, ...], other: tuple[TokenGroup, ...]) -> list[bool]:
    """Return which linguistic codes differ."""
    pairs = zip(one, other, strict=False)
    return [a != b for f, t in pairs for a, b in zip(f.linguistic, t.linguistic, strict=True)]
