"""Mel against arrays recorded from the public reference."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from step_audio.core.errors import AudioError
from tests.vocoder.conftest import GOLDEN
from vocoder.mel import MelConfig, log_mel, mel_filterbank

CLIPS = ("en_1", "en_2", "zh_3", "fr_4", "en_5", "ko_6")


@pytest.mark.parametrize("clip", CLIPS)
def test_mel_equals_the_reference(clip: str) -> None:
    data = load_file(GOLDEN / "mel" / "data.safetensors")
    ours = log_mel(data[f"{clip}.wav22k"][None])[0]
    torch.testing.assert_close(ours, data[f"{clip}.mel"], rtol=0, atol=1e-4)


def test_filterbank_equals_the_reference() -> None:
    golden = load_file(GOLDEN / "mel" / "filterbank.safetensors")["mel_basis"]
    torch.testing.assert_close(mel_filterbank(MelConfig()), golden, rtol=0, atol=1e-8)


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
