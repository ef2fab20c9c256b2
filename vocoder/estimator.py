"""Velocity field of the flow: a 1-D U-Net of residual convolutions and transformer blocks.

One step down, one step up, as many levels as `channels` has entries (the last level keeps the
rate). Attention has no mask and GroupNorm takes its statistics over the whole time axis, so the
output depends on the window it is given; windows of several lengths share a batch by leaving each
row's padding out of both (`Span.alone`). Attribute names are those of the published state dict.

Source: Matcha-TTS, arXiv:2309.03199; CosyVoice, arXiv:2407.05407.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from step_audio.core.types import MEL_BANDS


@dataclass(frozen=True, slots=True)
class EstimatorConfig:
    """Trained facts of the U-Net, named as in the published yaml.

    Attributes:
        in_channels: x, mu, speaker and condition stacked, 4 * 80; also the width of the time
            sinusoids.
        out_channels: mel bands.
        channels: width of each level; multiples of 8.
        attention_head_dim: width of one head.
        n_blocks: transformer blocks per stage.
        num_mid_blocks: stages at the lowest rate.
        num_heads: heads per block.
        dropout: inside the transformer blocks; training only.
    """

    in_channels: int = 320
    out_channels: int = MEL_BANDS
    channels: tuple[int, ...] = (256, 256)
    attention_head_dim: int = 64
    n_blocks: int = 4
    num_mid_blocks: int = 12
    num_heads: int = 8
    dropout: float = 0.0


def time_sinusoids(t: Tensor, width: int) -> Tensor:
    """Return sines then cosines of 1000 t, (B,) in [0, 1] -> (B, width)."""
    half = width // 2
    rate = torch.exp(torch.arange(half, device=t.device) * -(math.log(1e4) / (half - 1)))
    angle = 1000 * t[:, None] * rate
    return torch.cat((angle.sin(), angle.cos()), dim=-1)


class TimeEmbedding(nn.Module):
    """Two linear layers around a SiLU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, hidden)
        self.linear_2 = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width) -> (B, hidden)."""
        out: Tensor = self.linear_2(F.silu(self.linear_1(x)))
        return out


@dataclass(frozen=True, slots=True)
class Span:
    """Which frames of a batch are there, at one level of the U-Net.

    Attributes:
        mask: 1 where valid, (B, 1, T); None where all are, which saves the work.
        alone: statistics and attention leave padding out, so that a row comes out as it would
            without the others. The reference does not: there they see the padding.
    """

    mask: Tensor | None
    alone: bool = False

    def silence(self, x: Tensor) -> Tensor:
        """Zero the padding of (B, C, T)."""
        return x if self.mask is None else x * self.mask

    def halved(self) -> Span:
        """Return the span at half the rate."""
        return self if self.mask is None else Span(self.mask[..., ::2], self.alone)

    def keys(self) -> Tensor | None:
        """Return which frames attention may look at, (B, 1, 1, T) bool; None: all."""
        return self.mask[:, None].bool() if self.mask is not None and self.alone else None

    def normalise(self, x: Tensor, norm: nn.GroupNorm) -> Tensor:
        """Apply a GroupNorm to (B, C, T)."""
        if self.mask is None or not self.alone:
            out: Tensor = norm(x)
            return out
        rows, width, time = x.shape
        mask = self.mask[:, None].to(x)  # (B, 1, 1, T)
        groups = x.reshape(rows, norm.num_groups, -1, time)
        count = mask.sum(dim=-1, keepdim=True) * groups.shape[2]
        mean = (groups * mask).sum(dim=(2, 3), keepdim=True) / count
        centred = (groups - mean) * mask
        variance = centred.square().sum(dim=(2, 3), keepdim=True) / count
        scaled = (centred * torch.rsqrt(variance + norm.eps)).reshape(rows, width, time)
        return torch.addcmul(norm.bias[:, None], scaled, norm.weight[:, None])


def mish(x: Tensor) -> Tensor:
    """Return x tanh(log(1 + e^x)), by one exponential: half the time of torch's on CPUs."""
    if x.is_cuda or torch.is_grad_enabled():
        return F.mish(x)
    e = x.clamp(max=20.0).exp()  # beyond 20 the factor is 1 in float32
    n = e * (e + 2)
    return x * (n / (n + 2))


class ConvBlock(nn.Module):
    """Convolution, GroupNorm, Mish, masked before and after."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv1d(width_in, width_out, 3, padding=1), nn.GroupNorm(8, width_out), nn.Mish()
        )

    def forward(self, x: Tensor, span: Span) -> Tensor:
        """(B, width_in, T) -> (B, width_out, T)."""
        x = self.block[0](span.silence(x))
        return span.silence(mish(span.normalise(x, cast(nn.GroupNorm, self.block[1]))))


class ResidualBlock(nn.Module):
    """Two convolution blocks with the time added between them."""

    def __init__(self, width_in: int, width_out: int, time_width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Mish(), nn.Linear(time_width, width_out))
        self.block1 = ConvBlock(width_in, width_out)
        self.block2 = ConvBlock(width_out, width_out)
        self.res_conv = nn.Conv1d(width_in, width_out, 1)

    def forward(self, x: Tensor, span: Span, time: Tensor) -> Tensor:
        """(B, width_in, T), time (B or 1, width_out) -> (B, width_out, T)."""
        hidden = self.block1(x, span) + time[..., None]
        out: Tensor = self.block2(hidden, span) + self.res_conv(span.silence(x))
        return out


class EstimatorAttention(nn.Module):
    """Plain multi-head attention; only the output has a bias."""

    def __init__(self, width: int, config: EstimatorConfig) -> None:
        super().__init__()
        self.heads = config.num_heads
        inner = config.num_heads * config.attention_head_dim
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_k = nn.Linear(width, inner, bias=False)
        self.to_v = nn.Linear(width, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, width), nn.Dropout(config.dropout))

    def forward(self, x: Tensor, keys: Tensor | None = None) -> Tensor:
        """(B, T, width), keys (B, 1, 1, T) True where attended -> (B, T, width)."""
        rows, time, _ = x.shape
        q, k, v = (
            f(x).reshape(rows, time, self.heads, -1).transpose(1, 2)
            for f in (self.to_q, self.to_k, self.to_v)
        )
        heads = F.scaled_dot_product_attention(q, k, v, attn_mask=keys)
        out: Tensor = self.to_out(heads.transpose(1, 2).flatten(2))
        return out


class Gelu(nn.Module):
    """Linear layer and exact GELU, under the name the state dict has."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width_in, width_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width_in) -> (B, T, width_out)."""
        return F.gelu(self.proj(x))


class EstimatorFeedForward(nn.Module):
    """Four times as wide inside."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.net = nn.Sequential(
            Gelu(width, 4 * width), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) -> (B, T, width)."""
        out: Tensor = self.net(x)
        return out


class TransformerBlock(nn.Module):
    """EstimatorAttention, then feed-forward, each behind a LayerNorm and inside a residual."""

    def __init__(self, width: int, config: EstimatorConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = EstimatorAttention(width, config)
        self.norm3 = nn.LayerNorm(width)  # norm2 belongs to cross-attention, which is absent
        self.ff = EstimatorFeedForward(width, config.dropout)

    def forward(self, x: Tensor, keys: Tensor | None = None) -> Tensor:
        """(B, T, width), keys (B, 1, 1, T) True where attended -> (B, T, width)."""
        x = x + self.attn1(self.norm1(x), keys)
        out: Tensor = x + self.ff(self.norm3(x))
        return out


class Resample(nn.Module):
    """Halves or doubles the rate, under the name the state dict has."""

    def __init__(self, conv: nn.Conv1d | nn.ConvTranspose1d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, T) -> (B, width, ceil(T/2)) or (B, width, 2T)."""
        out: Tensor = self.conv(x)
        return out


def _stage(
    width_in: int, width: int, config: EstimatorConfig, last: nn.Module | None
) -> nn.ModuleList:
    blocks = nn.ModuleList(TransformerBlock(width, config) for _ in range(config.n_blocks))
    residual = ResidualBlock(width_in, width, 4 * config.channels[0])
    return nn.ModuleList([residual, blocks] if last is None else [residual, blocks, last])


def _run(stage: nn.Module, x: Tensor, span: Span, time: Tensor) -> Tensor:
    """Residual block and transformers of a stage, (B, C, T) -> (B, width, T)."""
    stage = cast(nn.ModuleList, stage)
    x, keys = stage[0](x, span, time).transpose(1, 2), span.keys()
    for block in cast(nn.ModuleList, stage[1]):
        x = block(x, keys)
    return x.transpose(1, 2)


class Estimator(nn.Module):
    """Velocity of the mel at flow time t, given tokens, speaker and known mel."""

    def __init__(self, config: EstimatorConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.channels
        self.time_mlp = TimeEmbedding(config.in_channels, 4 * widths[0])
        self.down_blocks = nn.ModuleList()
        before = config.in_channels
        for level, width in enumerate(widths):
            conv = nn.Conv1d(width, width, 3, padding=1)
            last: nn.Module = conv
            if level < len(widths) - 1:
                last = Resample(nn.Conv1d(width, width, 3, stride=2, padding=1))
            self.down_blocks.append(_stage(before, width, config, last))
            before = width
        self.mid_blocks = nn.ModuleList(
            _stage(before, before, config, None) for _ in range(config.num_mid_blocks)
        )
        self.up_blocks = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            target = widths[max(level - 1, 0)]
            last = nn.Conv1d(target, target, 3, padding=1)
            if level > 0:
                last = Resample(nn.ConvTranspose1d(target, target, 4, stride=2, padding=1))
            self.up_blocks.append(_stage(before + width, target, config, last))
            before = target
        self.final_block = ConvBlock(before, before)
        self.final_proj = nn.Conv1d(before, config.out_channels, 1)

    def forward(
        self, x: Tensor, mask: Tensor, mu: Tensor, t: Tensor, *, spks: Tensor, cond: Tensor
    ) -> Tensor:
        """Return the velocity.

        Args:
            x: mel at time t, (B, 80, T).
            mask: 1 where valid, (B, 1, T). It silences padding in the convolutions only.
            mu: regulated token features, (B, 80, T).
            t: flow time in [0, 1], (B,).
            spks: projected speaker, (B, 80).
            cond: mel where it is known, 0 elsewhere, (B, 80, T).

        Returns:
            (B, 80, T), 0 outside the mask.
        """
        return self.step(torch.cat((x, mu), dim=1), self.times(t), Span(mask), spks, cond)

    def times(self, t: Tensor) -> list[Tensor]:
        """Return what each residual block adds for flow times (N,): (N, width), in order of use."""
        time = self.time_mlp(time_sinusoids(t, self.config.in_channels).to(self.dtype))
        stages = (*self.down_blocks, *self.mid_blocks, *self.up_blocks)
        return [cast(ResidualBlock, cast(nn.ModuleList, stage)[0]).mlp(time) for stage in stages]

    def step(
        self, x: Tensor, times: Sequence[Tensor], span: Span, spks: Tensor, cond: Tensor
    ) -> Tensor:
        """Return the velocity, as `forward` does.

        Args:
            x: mel at the flow time and regulated token features, (B, 160, T).
            times: of `times`, one row or B.
            span: which frames are there.
            spks, cond: as in `forward`.
        """
        x = torch.cat((x, spks[..., None].expand(-1, -1, x.shape[-1]), cond), dim=1)
        time = iter(times)
        spans, skips = [span], []
        for stage in self.down_blocks:
            x = _run(stage, x, spans[-1], next(time))
            skips.append(x)
            x = cast(nn.ModuleList, stage)[2](spans[-1].silence(x))
            spans.append(spans[-1].halved())
        spans.pop()  # the last level keeps its rate
        for stage in self.mid_blocks:
            x = _run(stage, x, spans[-1], next(time))
        for stage in self.up_blocks:
            level, skip = spans.pop(), skips.pop()
            x = torch.cat((x[..., : skip.shape[-1]], skip), dim=1)  # odd lengths grew by one
            x = _run(stage, x, level, next(time))
            x = cast(nn.ModuleList, stage)[2](level.silence(x))
        x = self.final_block(x, span)
        return span.silence(self.final_proj(span.silence(x)))

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and so of every input."""
        return self.final_proj.weight.dtype
