"""Losses and critics of the waveform generator."""

from __future__ import annotations

import torch

from step_audio.nano.training.discriminators import Critics
from step_audio.nano.training.vocoder_losses import (
    SpectralDistance,
    critic_loss,
    feature_loss,
    persuasion_loss,
)
from vocoder.mel import MelConfig

MARGIN = MelConfig().margin_samples


def sound(seed: int, samples: int = 256 * 24 + 2 * MARGIN) -> torch.Tensor:
    return 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(seed))


def test_equal_sounds_have_no_distance() -> None:
    real = sound(0)
    losses = SpectralDistance(MelConfig())(real[:, MARGIN:-MARGIN], real, MARGIN)
    assert float(losses.total) < 1e-5


def test_distance_grows_with_level_error_and_ignores_polarity() -> None:
    real, distance = sound(0), SpectralDistance(MelConfig())
    inner = real[:, MARGIN:-MARGIN]
    slight, strong = (float(distance(inner * g, real, MARGIN).total) for g in (0.9, 0.3))
    assert 0 < slight < strong
    flipped = distance(-inner, -real, MARGIN)
    assert float(flipped.total) < 1e-5


def test_gradients_of_silence_are_finite() -> None:
    real = torch.zeros(1, 256 * 24 + 2 * MARGIN) + 1e-4
    made = torch.zeros(1, 256 * 24, requires_grad=True)
    torch.autograd.backward(SpectralDistance(MelConfig())(made, real, MARGIN).total)
    assert made.grad is not None
    assert bool(torch.isfinite(made.grad).all())


def test_critics_learn_to_tell_noise_from_a_tone() -> None:
    torch.manual_seed(0)
    critics = Critics(channels=4)
    optimizer = torch.optim.AdamW(critics.parameters(), lr=2e-3)
    tone = 0.3 * torch.sin(torch.arange(2048) * 0.2).repeat(2, 1)
    losses = []
    for step in range(15):
        noise = 0.2 * torch.randn(2, 2048, generator=torch.Generator().manual_seed(step))
        real, made = critics(tone), critics(noise)
        loss = critic_loss(real.scores, made.scores)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    persuaded = [persuasion_loss(critics(wav).scores).item() for wav in (tone, noise)]
    assert persuaded[0] < persuaded[1]
    assert feature_loss(real.features, real.features).item() == 0.0
