"""A recording becomes a sample, or is refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest

from step_audio.core.errors import AudioError
from step_audio.core.types import Pcm, Recording
from step_audio.voices.sample import clipped_share, prepare_sample
from tests.vocoder.speech import speechlike

RATE_HZ = 16_000


def recording(*channels: Pcm, rate_hz: int = RATE_HZ) -> Recording:
    return Recording(np.stack(channels, axis=1), rate_hz)


def padded(before_s: float, speech_s: float, after_s: float, rate_hz: int = RATE_HZ) -> Pcm:
    hiss = np.random.default_rng(0).standard_normal(round((before_s + after_s) * rate_hz)) * 1e-4
    split = round(before_s * rate_hz)
    joined = np.concatenate((hiss[:split], speechlike(speech_s, rate_hz), hiss[split:]))
    return joined.astype(np.float32)


@pytest.mark.parametrize("rate_hz", [16_000, 22_050, 44_100, 48_000])
def test_silence_is_cut_and_whole_groups_are_left(rate_hz: int) -> None:
    sample = prepare_sample(recording(padded(1.0, 5.0, 2.0, rate_hz), rate_hz=rate_hz))
    assert sample.rate_hz == rate_hz
    assert 5.0 <= len(sample.pcm) / rate_hz <= 5.25
    assert len(sample.pcm) * 1000 % (rate_hz * 120) < 1000  # whole groups, to the sample
    assert np.abs(sample.pcm).max() == pytest.approx(0.7, rel=1e-3)
    assert any("cut 0.9" in note and "1.9" in note for note in sample.notes)


def test_what_was_done_to_the_channels_is_said() -> None:
    one = padded(0.2, 4.0, 0.2)
    both = prepare_sample(recording(one, one))
    assert "averaged 2 channels" in both.notes
    np.testing.assert_allclose(both.pcm, prepare_sample(recording(one)).pcm, atol=1e-6)
    opposite = prepare_sample(recording(one, -one))
    assert "used channel 1 of 2, the loudest" in opposite.notes
    alone = prepare_sample(recording(np.zeros_like(one), one, np.zeros_like(one)))
    assert "used channel 2 of 3, the loudest" in alone.notes


@pytest.mark.parametrize(
    ("pcm", "reason"),
    [
        (padded(0.5, 2.5, 0.5), "s of speech; at least 3 s"),
        (padded(0.5, 31.0, 0.5), "cut it and its text to 30 s"),
        (np.zeros(5 * RATE_HZ, np.float32), "silent throughout"),
        (speechlike(5) * 0.004, "too quiet"),
        (np.clip(speechlike(5) * 3, -0.6, 0.6), "is clipped"),
        (np.full(5 * RATE_HZ, np.nan, np.float32), "NaN"),
        (np.zeros(0, np.float32), "no samples"),
        (speechlike(0.01), "shorter than 3 s"),
        (
            np.concatenate([np.pad(speechlike(0.3), (0, RATE_HZ)) for _ in range(5)]),
            "pauses; give continuous speech",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(pcm: Pcm, reason: str) -> None:
    with pytest.raises(AudioError, match=reason):
        prepare_sample(recording(pcm))


def test_a_loud_recording_is_not_taken_for_a_clipped_one() -> None:
    assert clipped_share(speechlike(5) * 2) < 1e-4
    assert clipped_share(np.clip(speechlike(5) * 3, -0.6, 0.6)) > 0.01
