"""Token encoder of the flow model: embedded tokens in, contextual features out.

A pre-norm transformer with Transformer-XL relative positions in espnet's form: the sequence sees
distances T-1 .. -(T-1), so the same content gives the same output wherever a chunk starts.
Attention covers the whole sequence. Attribute names are those of the published state dict
(`embed.out.0`, `encoders.N.self_attn.linear_q`, ...).

Source: Dai et al., arXiv:1901.02860; ESPnet; CosyVoice, arXiv:2407.05407.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Trained facts of the encoder, named as in the published yaml.

    Attributes:
        input_size: width of the embedded tokens.
        output_size: width D inside and at the output; a multiple of `attention_heads`.
        attention_heads: heads per block.
        linear_units: width of the feed-forward layers.
        num_blocks: number of blocks.
        dropout_rate: after embedding, attention and feed-forward; training only.
    """

    input_size: int = 512
    output_size: int = 512
    attention_heads: int = 8
    linear_units: int = 2048
    num_blocks: int = 6
    dropout_rate: float = 0.1


def relative_positions(length: int, width: int) -> Tensor:
    """Return the sinusoids of the distances length-1 .. -(length-1), (1, 2*length-1, width).

    Even features are sines, odd ones cosines; `width` is even.
    """
    distance = torch.arange(length - 1, -length, -1, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * -(math.log(1e4) / width))
    table = torch.stack((torch.sin(distance * rate), torch.cos(distance * rate)), dim=-1)
    return table.reshape(1, 2 * length - 1, width)


class InputLayer(nn.Module):
    """Linear and LayerNorm, then the scale that goes with sinusoidal positions."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.out = nn.Sequential(
            nn.Linear(config.input_size, config.output_size),
            nn.LayerNorm(config.output_size, eps=1e-5),
            nn.Dropout(config.dropout_rate),
        )
        self.scale = math.sqrt(config.output_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, input_size) -> (B, T, D)."""
        scaled: Tensor = self.out(x) * self.scale
        return scaled


class RelativeAttention(nn.Module):
    """Multi-head attention whose scores add a content-to-distance term."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width, heads = config.output_size, config.attention_heads
        self.heads, self.head_width = heads, width // heads
        self.dropout_rate = config.dropout_rate
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(width, width)
        self.linear_v = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)
        self.linear_pos = nn.Linear(width, width, bias=False)
        self.pos_bias_u = nn.Parameter(torch.zeros(heads, self.head_width))
        self.pos_bias_v = nn.Parameter(torch.zeros(heads, self.head_width))
        nn.init.xavier_uniform_(self.pos_bias_u)
        nn.init.xavier_uniform_(self.pos_bias_v)

    def _split(self, x: Tensor) -> Tensor:
        rows, time, _ = x.shape
        return x.reshape(rows, time, self.heads, self.head_width).transpose(1, 2)  # (B, H, T, d)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, D), positions (1, 2T-1, D), mask (B, T) True where valid -> (B, T, D)."""
        length = x.shape[1]
        q, k, v = (self._split(f(x)) for f in (self.linear_q, self.linear_k, self.linear_v))
        p = self._split(self.linear_pos(positions))  # (1, H, 2T-1, d)
        by_distance = (q + self.pos_bias_v[:, None]) @ p.transpose(-2, -1)  # (B, H, T, 2T-1)
        # Row i wants columns T-1-i .. 2T-2-i, where column c stands for distance T-1-c.
        scale = 1 / math.sqrt(self.head_width)
        bias = shift_rows(by_distance, length) * scale
        if mask is not None:
            bias = bias.masked_fill(~mask[:, None, None, :], -torch.inf)
        heads = F.scaled_dot_product_attention(
            q + self.pos_bias_u[:, None],
            k,
            v,
            attn_mask=bias.to(q.dtype),
            dropout_p=self.dropout_rate if self.training else 0.0,
            scale=scale,
        )
        out: Tensor = self.linear_out(heads.transpose(1, 2).flatten(2))
        return out


def shift_rows(scores: Tensor, length: int) -> Tensor:
    """Turn columns that count distances into columns that count keys.

    Args:
        scores: (B, H, T, 2T-1); column c belongs to distance T-1-c.
        length: T.

    Returns:
        (B, H, T, T); row i, column j holds distance i-j.
    """
    padded = F.pad(scores, (1, 0))  # one more column, so that the flat layout slips one per row
    rows, heads = scores.shape[:2]
    slipped = padded.flatten(2)[..., length:].reshape(rows, heads, length, 2 * length - 1)
    return slipped[..., :length]


class EncoderFeedForward(nn.Module):
    """Two linear layers around a SiLU."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.w_1 = nn.Linear(config.output_size, config.linear_units)
        self.w_2 = nn.Linear(config.linear_units, config.output_size)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        out: Tensor = self.w_2(self.dropout(F.silu(self.w_1(x))))
        return out


class EncoderBlock(nn.Module):
    """Attention, then feed-forward, each behind a LayerNorm and inside a residual."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.self_attn = RelativeAttention(config)
        self.feed_forward = EncoderFeedForward(config)
        self.norm_mha = nn.LayerNorm(config.output_size, eps=1e-5)
        self.norm_ff = nn.LayerNorm(config.output_size, eps=1e-5)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = x + self.dropout(self.self_attn(self.norm_mha(x), positions, mask))
        out: Tensor = x + self.dropout(self.feed_forward(self.norm_ff(x)))
        return out


class TokenEncoder(nn.Module):
    """Embedded tokens to contextual features at the same rate."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = InputLayer(config)
        self.encoders = nn.ModuleList(EncoderBlock(config) for _ in range(config.num_blocks))
        self.after_norm = nn.LayerNorm(config.output_size, eps=1e-5)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode a batch.

        Args:
            x: embedded tokens, (B, T, input_size), T >= 1.
            lengths: valid tokens per row, (B,); None when all T are.

        Returns:
            Features, (B, T, D); rows beyond a length are meaningless.
        """
        time = x.shape[1]
        mask = None
        if lengths is not None:
            mask = torch.arange(time, device=x.device)[None] < lengths[:, None]
        x = self.embed(x)
        positions = relative_positions(time, self.config.output_size).to(x)
        for block in self.encoders:
            x = block(x, positions, mask)
        out: Tensor = self.after_norm(x)
        return out
