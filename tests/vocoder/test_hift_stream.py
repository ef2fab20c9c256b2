"""A streamed waveform equals the one-shot waveform, however the mel is cut."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from step_audio.core.errors import ShapeError, StepAudioError
from step_audio.core.types import Pcm
from tests.golden_checks.component import relative_rms
from vocoder.hift import HiftGenerator
from vocoder.hift_stream import HiftStream
from vocoder.source import SourceNoise

# Rounding of the pitch (1e-4 Hz), which differs with the length of a convolution, adds up in the
# phase; random weights make much of it: 1e-3 here, 1e-5 where pitch is computed in one piece.
TOLERANCE = 5e-3


def one_shot(hift: HiftGenerator, mel: Tensor, seed: int) -> Tensor:
    noise = SourceNoise(seed, hift.config.nb_harmonics + 1)
    bands_first = mel.T[None]
    f0 = hift.f0_predictor(bands_first)
    source = hift.m_source(f0, noise.phase(), noise.noise(0, len(mel) * 256))
    return hift.decode(bands_first, source)[0]


def streamed(stream: HiftStream, mel: Tensor, cuts: list[int]) -> Tensor:
    places = [0, *sorted(cuts), len(mel)]
    out: list[Pcm] = []
    for start, stop in itertools.pairwise(places):
        out += stream.push(mel[start:stop])
    out += stream.flush()
    return torch.from_numpy(np.concatenate(out)) if out else torch.zeros(0)


@settings(max_examples=5, deadline=None)
@given(cuts=st.lists(st.integers(0, 60), max_size=8))
def test_cuts_cannot_be_heard(hift: HiftGenerator, speech_mel: Tensor, cuts: list[int]) -> None:
    mel = speech_mel[:60]
    sound = streamed(HiftStream(hift, seed=7), mel, cuts)
    assert relative_rms(sound, one_shot(hift, mel, 7)) < TOLERANCE


def test_frame_by_frame_equals_one_shot(hift: HiftGenerator, speech_mel: Tensor) -> None:
    mel = speech_mel[:40]
    sound = streamed(HiftStream(hift, seed=1), mel, list(range(40)))
    assert relative_rms(sound, one_shot(hift, mel, 1)) < TOLERANCE


def test_one_chunk_differs_by_rounding_only(hift: HiftGenerator, speech_mel: Tensor) -> None:
    sound = streamed(HiftStream(hift, seed=1), speech_mel, [])
    assert relative_rms(sound, one_shot(hift, speech_mel, 1)) < 1e-3


def test_less_context_costs_exactness_gradually(hift: HiftGenerator, speech_mel: Tensor) -> None:
    cuts = list(range(20, len(speech_mel), 20))
    whole = one_shot(hift, speech_mel, 1)
    errors = [
        relative_rms(streamed(HiftStream(hift, 1, right_frames=right), speech_mel, cuts), whole)
        for right in (0, 6, 14)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < TOLERANCE


@pytest.mark.parametrize("frames", [1, 2, 5, 19, 20])
def test_every_frame_becomes_256_samples(
    hift: HiftGenerator, speech_mel: Tensor, frames: int
) -> None:
    sound = streamed(HiftStream(hift), speech_mel[:frames], [1])
    assert sound.shape == (frames * 256,)
    assert bool(torch.isfinite(sound).all())


def test_a_frame_leaves_as_soon_as_its_lookahead_is_there(
    hift: HiftGenerator, speech_mel: Tensor
) -> None:
    stream = HiftStream(hift, right_frames=3)
    assert stream.lookahead_frames == 8
    assert stream.push(speech_mel[:8]) == []
    (first,) = stream.push(speech_mel[8:9])
    assert len(first) == 256


def with_guesses(stream: HiftStream, mel: Tensor, size: int, guess: Tensor) -> Tensor:
    """Push `size` frames at a time, each with 19 frames of `guess` from where `mel` goes on."""
    out: list[Pcm] = []
    for start in range(0, len(mel), size):
        out += stream.push(mel[start : start + size], guess[start + size : start + size + 19])
    return torch.from_numpy(np.concatenate(out + stream.flush()))


def test_with_a_true_guess_nothing_is_held_back_and_nothing_changes(
    hift: HiftGenerator, speech_mel: Tensor
) -> None:
    mel = speech_mel[:75]
    (first,) = HiftStream(hift, seed=1).push(mel[:20], mel[20:39])
    assert len(first) == 20 * 256
    sound = with_guesses(HiftStream(hift, seed=1), mel, 20, mel)
    assert relative_rms(sound, one_shot(hift, mel, 1)) < TOLERANCE


def test_a_guess_is_forgotten(hift: HiftGenerator, speech_mel: Tensor) -> None:
    mel = speech_mel[:75]
    guessed = with_guesses(HiftStream(hift, seed=1), mel, 25, mel + 0.3)
    assert guessed.shape == (75 * 256,)
    after_guess, plain = HiftStream(hift, seed=1), HiftStream(hift, seed=1)
    after_guess.push(mel[:25], mel[25:44] + 0.3)
    plain.push(mel[:25])
    assert after_guess._sourced == 25
    assert torch.equal(after_guess._mel[0, :, -10:], plain._mel[0, :, -10:])


def test_an_empty_stream_is_silent(hift: HiftGenerator) -> None:
    stream = HiftStream(hift)
    assert stream.push(torch.zeros(0, 80)) == []
    assert stream.flush() == []


def test_two_streams_of_one_generator_do_not_disturb_each_other(
    hift: HiftGenerator, speech_mel: Tensor
) -> None:
    a, b = HiftStream(hift, seed=1), HiftStream(hift, seed=2)
    got_a: list[Pcm] = []
    for chunk in torch.split(speech_mel, 30):
        got_a += a.push(chunk)
        b.push(chunk.flip(0))
    got_a += a.flush()
    alone = HiftStream(hift, seed=1)
    want = [piece for chunk in torch.split(speech_mel, 30) for piece in alone.push(chunk)]
    want += alone.flush()
    np.testing.assert_array_equal(np.concatenate(got_a), np.concatenate(want))


def test_memory_does_not_grow(hift: HiftGenerator, speech_mel: Tensor) -> None:
    stream = HiftStream(hift)
    held = []
    for _ in range(6):
        stream.push(speech_mel[:40])
        held.append(stream._mel.shape[2])
    assert len(set(held[2:])) == 1


def test_misuse_is_refused(hift: HiftGenerator) -> None:
    stream = HiftStream(hift)
    with pytest.raises(ShapeError, match="not \\(T, 80\\)"):
        stream.push(torch.zeros(80, 4))
    stream.flush()
    with pytest.raises(StepAudioError, match="after flush"):
        stream.push(torch.zeros(4, 80))
