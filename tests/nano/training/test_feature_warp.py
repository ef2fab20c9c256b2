"""Invented speakers keep what was said and change who says it."""

from __future__ import annotations

import numpy as np
import pytest

from step_audio.nano.training import feature_warp
from step_audio.nano.training.feature_warp import Frames

BANDS = 80


@pytest.fixture
def frames() -> Frames:
    """Two formants that glide, 120 frames."""
    bands, times = np.arange(BANDS), np.linspace(0, 1, 120)[:, None]
    low = np.exp(-0.5 * ((bands - 15 - 8 * times) / 3) ** 2)
    high = np.exp(-0.5 * ((bands - 55 + 10 * times) / 3) ** 2)
    glide: Frames = (10.0 * (low + high)).astype(np.float32)
    return glide


def test_the_same_seed_draws_the_same_speaker(frames: Frames) -> None:
    one, two = (feature_warp.other_speaker(frames, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    other = feature_warp.other_speaker(frames, np.random.default_rng(8))
    assert other.shape != one.shape or not np.array_equal(one, other)


@pytest.mark.parametrize("seed", range(8))
def test_every_drawn_speaker_gives_finite_frames_of_like_length(frames: Frames, seed: int) -> None:
    made = feature_warp.other_speaker(frames, np.random.default_rng(seed))
    assert made.shape[1] == BANDS
    assert made.dtype == np.float32
    assert np.isfinite(made).all()
    assert 0.6 < len(made) / len(frames) < 1.6


def test_strength_zero_and_too_short_sounds_pass_unchanged(frames: Frames) -> None:
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(feature_warp.other_speaker(frames, rng, 0.0), frames)
    np.testing.assert_array_equal(feature_warp.other_speaker(frames[:3], rng), frames[:3])


def test_moved_formants_are_the_same_peaks_elsewhere(frames: Frames) -> None:
    moved = feature_warp.move_formants(frames, np.random.default_rng(3), 0.16)
    assert moved.shape == frames.shape
    peaks, before = moved[:, 30:].argmax(1) + 30, frames[:, 30:].argmax(1) + 30
    assert np.abs(peaks - before).max() > 1
    # The glide still falls by about as many bands.
    assert (peaks[0] - peaks[-1]) == pytest.approx(before[0] - before[-1], abs=4)


def test_colour_is_one_curve_for_the_whole_utterance(frames: Frames) -> None:
    added = feature_warp.colour(frames, np.random.default_rng(1), 2.0) - frames
    np.testing.assert_allclose(added, np.broadcast_to(added[:1], added.shape), atol=1e-5)


def test_a_low_cut_halves_the_power_at_its_corner_and_spares_what_is_far_above() -> None:
    lost = -feature_warp.low_cut(np.zeros((1, BANDS), dtype=np.float32), 300.0, 1.0)[0]
    mels = np.linspace(1127 * np.log(1 + 20 / 700), 1127 * np.log(1 + 8000 / 700), BANDS + 2)[1:-1]
    hertz = 700 * (np.exp(mels / 1127) - 1)
    corner = int(np.abs(hertz - 300).argmin())
    assert lost[corner] == pytest.approx(np.log(2), abs=0.1)
    assert lost[int(np.abs(hertz - 150).argmin())] == pytest.approx(np.log(5), abs=0.2)
    assert lost[-1] < 0.01
    assert (np.diff(lost) < 0).all()


def test_dynamics_move_the_quiet_away_from_the_loud_and_leave_the_loud() -> None:
    frames = np.repeat(np.array([0.0, -3.0], dtype=np.float32), 20)[:, None] + np.zeros((1, BANDS))
    made = feature_warp.dynamics(frames.astype(np.float32), 1.5)
    np.testing.assert_allclose(made[:15], 0.0, atol=1e-6)
    np.testing.assert_allclose(made[-10:], -4.5, atol=1e-5)
    assert made.dtype == np.float32


def test_contrast_keeps_the_mean_of_each_frame(frames: Frames) -> None:
    flat = feature_warp.contrast(frames, 0.7)
    np.testing.assert_allclose(flat.mean(1), frames.mean(1), rtol=1e-4)
    assert (flat.std(1) < frames.std(1)).all()


def test_tempo_keeps_both_ends(frames: Frames) -> None:
    slower = feature_warp.uneven_tempo(frames, np.random.default_rng(5), 0.22)
    np.testing.assert_allclose(slower[0], frames[0], atol=1e-5)
    assert np.abs(slower[-1] - frames[-1]).max() < 1.0


def test_a_mask_touches_few_cells(frames: Frames) -> None:
    masked = feature_warp.mask(frames, np.random.default_rng(2))
    assert 0 < (masked != frames).mean() < 0.4
