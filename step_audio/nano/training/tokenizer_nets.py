"""Networks that exist only to train the two codebooks, and the semantic graph itself.

The linguistic encoder is the published class, `tokenizer.sanm.SanmEncoder`. The semantic tokenizer
is published as an ONNX graph (log-mel in, indices out), so its inside is free: strided
convolutions and ConvNeXt blocks whose look-ahead is small, for streaming in short windows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from step_audio.nano.training.quantizers import FiniteScalarQuantizer

SEMANTIC_LEVELS = (4, 4, 4, 4, 4, 4)
"""4^6 = 4096 codes."""


class ConvNextBlock(nn.Module):
    """Depthwise convolution over `left` past and `right` future frames, then a pointwise MLP."""

    def __init__(self, width: int, hidden: int, left: int = 3, right: int = 3) -> None:
        super().__init__()
        self.left, self.right = left, right
        self.depthwise = nn.Conv1d(width, width, left + right + 1, groups=width)
        self.norm = nn.LayerNorm(width)
        self.grow = nn.Linear(width, hidden)
        self.shrink = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        y = F.pad(x.transpose(1, 2), (self.left, self.right))
        y = self.norm(self.depthwise(y).transpose(1, 2))
        shrunk: Tensor = self.shrink(F.gelu(self.grow(y)))
        return x + shrunk


class SemanticNet(nn.Module):
    """Whisper log-mel (B, 128, frames at 100 Hz) to 4096 codes at 25 Hz, ceil(frames / 4) of them.

    Look-ahead: 1 frame of 10 ms, 1 of 20 ms, and `blocks` frames of 40 ms.
    """

    def __init__(self, width: int = 256, blocks: int = 5) -> None:
        super().__init__()
        self.first = nn.Conv1d(128, width, 3, stride=2, padding=1)
        self.second = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(
            ConvNextBlock(width, 3 * width, left=5, right=1) for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.quantizer = FiniteScalarQuantizer(width, SEMANTIC_LEVELS)

    def frames(self, mel: Tensor) -> Tensor:
        """(B, 128, T) -> (B, ceil(T / 4), D), before quantisation."""
        x = F.gelu(self.second(F.gelu(self.first(mel)))).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        normed: Tensor = self.norm(x)
        return normed

    def forward(self, mel: Tensor, rounding: bool) -> tuple[Tensor, Tensor]:
        """Return quantised frames (B, T', D) and codes (B, T')."""
        quantised: tuple[Tensor, Tensor] = self.quantizer(self.frames(mel), rounding)
        return quantised


class SemanticGraph(nn.Module):
    """What is exported: the published contract, (1, 128, frames) and length -> int32 indices."""

    def __init__(self, net: SemanticNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, feats: Tensor, feats_length: Tensor) -> Tensor:
        # The mask keeps `feats_length` an input of the graph, as the published one has it.
        steps = torch.arange(feats.shape[2], device=feats.device)
        mel = feats * (steps < feats_length[0]).to(feats.dtype)
        codes: Tensor = self.net.quantizer.indices(self.net.frames(mel))
        return codes.to(torch.int32)


class PhoneHead(nn.Module):
    """Linguistic frames at 16.7 Hz to phone logits at 50 Hz, for CTC."""

    def __init__(self, width: int, phones: int, inner: int = 192) -> None:
        super().__init__()
        self.inner = inner
        self.up = nn.Linear(width, 3 * inner)
        self.blocks = nn.ModuleList(ConvNextBlock(inner, 2 * inner) for _ in range(2))
        self.out = nn.Linear(inner, phones)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, D) -> (B, 3 T, phones)."""
        x = self.up(frames).reshape(frames.shape[0], -1, self.inner)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.out(x)
        return logits


class MelDecoder(nn.Module):
    """Both quantised streams and the utterance's mean and deviation to log-mel at 50 Hz.

    The statistics carry the speaker, so that the codes need not.
    """

    def __init__(
        self, linguistic: int, semantic: int, inner: int = 192, bands: int = 80, blocks: int = 4
    ) -> None:
        super().__init__()
        self.inner = inner
        self.from_linguistic = nn.Linear(linguistic, 3 * inner)
        self.from_semantic = nn.Linear(semantic, 2 * inner)
        self.speaker = nn.Sequential(nn.Linear(2 * bands, 128), nn.ReLU(), nn.Linear(128, inner))
        self.blocks = nn.ModuleList(ConvNextBlock(inner, 2 * inner) for _ in range(blocks))
        self.out = nn.Linear(inner, bands)

    def forward(self, linguistic: Tensor, semantic: Tensor, statistics: Tensor) -> Tensor:
        """(B, T1, D1), (B, T2, D2), (B, 160) -> (B, min(3 T1, 2 T2), 80)."""
        batch = linguistic.shape[0]
        a = self.from_linguistic(linguistic).reshape(batch, -1, self.inner)
        b = self.from_semantic(semantic).reshape(batch, -1, self.inner)
        steps = min(a.shape[1], b.shape[1])
        x = a[:, :steps] + b[:, :steps] + self.speaker(statistics)[:, None]
        for block in self.blocks:
            x = block(x)
        mel: Tensor = self.out(x)
        return mel
