"""Length regulator of the flow model: features at token rate in, features at mel rate out.

Linear interpolation, then a small convolutional network over the result. Attribute names are
those of the published state dict (`model.0` ... `model.12`).

Source: CosyVoice, arXiv:2407.05407.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from step_audio.core.types import MEL_BANDS


@dataclass(frozen=True, slots=True)
class LengthRegulatorConfig:
    """Trained facts of the regulator, named as in the published yaml.

    Attributes:
        channels: features D in and out.
        sampling_ratios: one convolution per entry; every published entry is 1.
    """

    channels: int = MEL_BANDS
    sampling_ratios: tuple[int, ...] = (1, 1, 1, 1)


def interpolate(x: Tensor, frames: int) -> Tensor:
    """Stretch (B, T, D) to (B, frames, D), linear, corners not aligned. T 0 needs frames 0."""
    if x.shape[1] == 0 or frames == 0:
        return x.new_zeros((x.shape[0], frames, x.shape[2]))
    stretched = F.interpolate(x.transpose(1, 2).contiguous(), size=frames, mode="linear")
    return stretched.transpose(1, 2)


class LengthRegulator(nn.Module):
    """Stretches the parts one by one, then smooths across them."""

    def __init__(self, config: LengthRegulatorConfig) -> None:
        super().__init__()
        width = config.channels
        layers: list[nn.Module] = []
        for _ in config.sampling_ratios:
            layers += [nn.Conv1d(width, width, 3, padding=1), nn.GroupNorm(1, width), nn.Mish()]
        layers.append(nn.Conv1d(width, width, 1))
        self.model = nn.Sequential(*layers)

    def forward(self, *parts: tuple[Tensor, int]) -> Tensor:
        """Regulate consecutive parts, usually the prompt and the target.

        Args:
            parts: pairs of features (B, T, D) at token rate and mel frames wanted for them.

        Returns:
            (B, sum of the frames, D).
        """
        x = torch.cat([interpolate(part, frames) for part, frames in parts], dim=1)
        out: Tensor = self.model(x.transpose(1, 2)).transpose(1, 2)
        return out
