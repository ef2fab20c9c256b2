"""What the waveform generator is trained on: spectra at four resolutions, mel, and critics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocoder.mel import MelConfig, log_mel

RESOLUTIONS: Final = (256, 512, 1024, 2048)
_MAGNITUDE_FLOOR = 1e-3


@dataclass(frozen=True, slots=True)
class SpectralLosses:
    """Scalars of one batch; `total` is what is minimised."""

    convergence: Tensor
    log_magnitude: Tensor
    mel: Tensor

    @property
    def total(self) -> Tensor:
        return self.convergence + self.log_magnitude + 3.0 * self.mel


class SpectralDistance(nn.Module):
    """Distance of two sounds that ignores phase.

    Source: Parallel WaveGAN's multi-resolution STFT loss, arXiv:1910.11480, and HiFi-GAN's mel
    loss, arXiv:2010.05646.
    """

    def __init__(self, mel: MelConfig) -> None:
        super().__init__()
        self._mel = mel
        for size in RESOLUTIONS:
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)

    def _magnitude(self, wav: Tensor, size: int) -> Tensor:
        spectrum = torch.stft(
            wav, size, size // 4, window=self.get_buffer(f"window_{size}"), return_complex=True
        )
        power = spectrum.real.square() + spectrum.imag.square()
        return power.clamp(min=_MAGNITUDE_FLOOR**2).sqrt()

    def forward(self, made: Tensor, real: Tensor, margin: int) -> SpectralLosses:
        """Compare generated with real sound.

        Args:
            made: (B, T).
            real: (B, T + 2 * margin).
            margin: samples of real sound around what was made; the generated sound is put
                between them, so that the mel of both sees true surroundings.
        """
        made_wide = torch.cat([real[:, :margin], made, real[:, real.shape[1] - margin :]], dim=1)
        convergence = made.new_zeros(())
        log_magnitude = made.new_zeros(())
        for size in RESOLUTIONS:
            ours, truth = self._magnitude(made_wide, size), self._magnitude(real, size)
            # Per utterance, so that quiet ones count as much as loud ones.
            error, level = (truth - ours).flatten(1).norm(dim=1), truth.flatten(1).norm(dim=1)
            convergence = convergence + (error / level).mean() / len(RESOLUTIONS)
            log_magnitude = log_magnitude + F.l1_loss(ours.log(), truth.log()) / len(RESOLUTIONS)
        mel = F.l1_loss(
            log_mel(made_wide, self._mel, padded=True), log_mel(real, self._mel, padded=True)
        )
        return SpectralLosses(convergence, log_magnitude, mel)


def critic_loss(real: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
    """Return the least-squares loss of critics that should say 1 to real and 0 to made."""
    losses = [((r - 1) ** 2).mean() + (m**2).mean() for r, m in zip(real, made, strict=True)]
    return torch.stack(losses).mean()


def persuasion_loss(made: Sequence[Tensor]) -> Tensor:
    """Return how far the critics are from taking the generated sound for real."""
    return torch.stack([((m - 1) ** 2).mean() for m in made]).mean()


def feature_loss(real: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
    """Return the mean distance of the critics' inner features, relative to the real ones."""
    losses = [
        F.l1_loss(m, r.detach()) / r.detach().abs().mean().clamp(min=1e-4)
        for r, m in zip(real, made, strict=True)
    ]
    return torch.stack(losses).mean()
