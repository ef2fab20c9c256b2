"""Mel at its edges; its numbers: tests/golden_checks."""

from __future__ import annotations

import pytest
import torch

from step_audio.core.errors import AudioError
from vocoder.mel import MelConfig, log_mel


def test_sound_with_its_own_surroundings_needs_no_mirror() -> None:
    config = MelConfig()
    wav = torch.randn(2, 256 * 20, generator=torch.Generator().manual_seed(3)) * 0.1
    whole = log_mel(wav, config)
    inner = wav[:, 256 * 5 - config.margin_samples : 256 * 15 + config.margin_samples]
    torch.testing.assert_close(
        log_mel(inner, config, padded=True), whole[:, :, 5:15], rtol=0, atol=1e-5
    )


def test_silence_is_the_floor() -> None:
    mel = log_mel(torch.zeros(1, 2560))
    assert mel.shape == (1, 80, 10)
    assert torch.all(mel < -9)


def test_too_short_a_sound_is_refused_with_the_length_it_needs() -> None:
    with pytest.raises(AudioError, match="need 18 ms"):
        log_mel(torch.zeros(1, 384))
