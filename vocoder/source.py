"""The harmonic source: sines on the pitch and its overtones where voiced, noise elsewhere.

Source: neural source-filter models, arXiv:1904.12088. Phase is accumulated in float64, so that
it does not drift however long a stream runs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_BLOCK_SAMPLES = 16384


class SourceNoise:
    """Start phases and noise of one stream, a function of seed and sample position only.

    Noise is drawn in fixed blocks, each from its own generator, so it does not matter in which
    pieces a stream asks for it.

    Args:
        seed: any int.
        harmonics: sines including the fundamental.
    """

    def __init__(self, seed: int, harmonics: int) -> None:
        self._seed, self._harmonics = seed, harmonics
        self._blocks: dict[int, Tensor] = {}

    def _generator(self, stream: int) -> torch.Generator:
        # A generator's state is made from all 64 bits; the odd factor keeps neighbours apart.
        mixed = (self._seed * 0x9E3779B97F4A7C15 + stream * 0xBF58476D1CE4E5B9) % 2**63
        return torch.Generator().manual_seed(mixed)

    def phase(self) -> Tensor:
        """Return start phases in [-pi, pi), (1, harmonics, 1)."""
        return draw_phase(1, self._harmonics, self._generator(0))

    def noise(self, start: int, stop: int) -> Tensor:
        """Return standard normals for samples [start, stop), (1, harmonics, stop - start)."""
        first, last = start // _BLOCK_SAMPLES, max(start, stop - 1) // _BLOCK_SAMPLES
        wanted = range(first, last + 1)
        for index in wanted:
            if index not in self._blocks:
                self._blocks[index] = torch.randn(
                    1, self._harmonics, _BLOCK_SAMPLES, generator=self._generator(index + 1)
                )
        joined = torch.cat([self._blocks[index] for index in wanted], dim=-1)
        self._blocks = {index: self._blocks[index] for index in wanted}
        offset = first * _BLOCK_SAMPLES
        return joined[..., start - offset : stop - offset]


def draw_phase(batch: int, harmonics: int, generator: torch.Generator) -> Tensor:
    """Return uniform start phases in [-pi, pi), (B, harmonics, 1)."""
    return (torch.rand(batch, harmonics, 1, generator=generator) * 2 - 1) * math.pi


class HarmonicSource(nn.Module):
    """Pitch to excitation signal.

    Args:
        sampling_rate: Hz.
        harmonics: sines including the fundamental.
        hop_size: samples per pitch frame.
        alpha: amplitude of a sine.
        sigma: noise level where voiced; alpha / 3 elsewhere.
        voiced_threshold: Hz above which a frame is voiced.
    """

    def __init__(
        self,
        sampling_rate: int,
        harmonics: int,
        hop_size: int,
        *,
        alpha: float,
        sigma: float,
        voiced_threshold: float,
    ) -> None:
        super().__init__()
        self.sampling_rate, self.harmonics, self.hop_size = sampling_rate, harmonics, hop_size
        self.alpha, self.sigma, self.voiced_threshold = alpha, sigma, voiced_threshold
        self.l_linear = nn.Linear(harmonics, 1)

    def cycles(self, f0: Tensor, start: Tensor | float = 0.0) -> Tensor:
        """Return cycles of the fundamental at every sample, float64, (B, T * hop).

        Args:
            f0: Hz, (B, T).
            start: cycles before the first sample, scalar or (B, 1); carry `cycles[:, -1:]`.
        """
        per_sample = f0.double() / self.sampling_rate
        return per_sample.repeat_interleave(self.hop_size, dim=1).cumsum(dim=1) + start

    def forward(
        self, f0: Tensor, phase: Tensor, noise: Tensor, start: Tensor | float = 0.0
    ) -> Tensor:
        """Return the excitation, (B, 1, T * hop).

        Args:
            f0: Hz, (B, T).
            phase: start phases in radians, (B, harmonics, 1).
            noise: standard normals, (B, harmonics, T * hop).
            start: as in `cycles`.
        """
        # The fundamental starts at 0 whatever was drawn; only the overtones are shifted.
        phase = torch.cat([torch.zeros_like(phase[:, :1]), phase[:, 1:]], dim=1)
        order = torch.arange(1, self.harmonics + 1, dtype=torch.float64, device=f0.device)
        turns = (self.cycles(f0, start)[:, None, :] * order[:, None]) % 1.0
        sines = self.alpha * torch.sin(2 * math.pi * turns.float() + phase)
        voiced = (f0 > self.voiced_threshold).float()[:, None, :]
        voiced = F.interpolate(voiced, scale_factor=float(self.hop_size), mode="nearest")
        level = voiced * self.sigma + (1 - voiced) * (self.alpha / 3)
        mixed: Tensor = self.l_linear((sines * voiced + level * noise).transpose(1, 2))
        return mixed.tanh().transpose(1, 2)
