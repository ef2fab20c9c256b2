"""Small critics of generated speech, one per time-frequency resolution.

Source: UnivNet's multi-resolution discriminator, arXiv:2106.07889, at a few channels.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SLOPE = 0.1
_SHAPES: Final = ((1024, 256), (512, 128), (256, 64))


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the critics say of a batch: `scores` per critic, `features` of all their layers."""

    scores: tuple[Tensor, ...]
    features: tuple[Tensor, ...]


class SpectrogramCritic(nn.Module):
    """Convolutions over one log-magnitude spectrogram.

    Args:
        n_fft, hop: the resolution, in samples.
        channels: width of every layer.
    """

    window: Tensor

    def __init__(self, n_fft: int, hop: int, channels: int) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        widths = [1, channels, channels, channels, channels]
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, (5, 3), stride=(2, 1), padding=(2, 1))
            for a, b in itertools.pairwise(widths)
        )
        self.last = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, wav: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return (score map, features of each layer) of sound (B, T)."""
        spectrum = torch.stft(wav, self.n_fft, self.hop, window=self.window, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        # Centred and scaled so that speech lies within about +-1.
        x = (power + 1e-6).log()[:, None] / math.log(1e6)
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), _SLOPE)
            features.append(x)
        return self.last(x), features


class Critics(nn.Module):
    """All resolutions together."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.critics = nn.ModuleList(SpectrogramCritic(n, hop, channels) for n, hop in _SHAPES)

    def forward(self, wav: Tensor) -> Verdicts:
        """Judge sound, (B, T)."""
        scores, features = [], []
        for critic in self.critics:
            score, inner = critic(wav)
            scores.append(score)
            features += inner
        return Verdicts(tuple(scores), tuple(features))
