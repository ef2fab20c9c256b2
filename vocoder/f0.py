"""Pitch from mel: five convolutions and one line per frame."""

from __future__ import annotations

from torch import Tensor, nn

from vocoder.weight_norm import NormedConv1d

_LAYERS = 5
_KERNEL = 3

CONTEXT_FRAMES = _LAYERS * (_KERNEL // 2)
"""Mel frames on either side that one frame's pitch depends on."""


class F0Predictor(nn.Module):
    """Predict the fundamental frequency of every mel frame.

    Source: CosyVoice `ConvRNNF0Predictor` (which has no recurrence), arXiv:2407.05407.
    """

    def __init__(self, in_channels: int, cond_channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(_LAYERS):
            width = in_channels if index == 0 else cond_channels
            layers += [NormedConv1d(width, cond_channels, _KERNEL), nn.ELU()]
        self.condnet = nn.Sequential(*layers)
        self.classifier = nn.Linear(cond_channels, 1)

    def forward(self, mel: Tensor) -> Tensor:
        """Return Hz, (B, T), of log-mel (B, D, T); near 0 where unvoiced."""
        hidden: Tensor = self.condnet(mel)
        f0: Tensor = self.classifier(hidden.transpose(1, 2))
        return f0[..., 0].abs()
