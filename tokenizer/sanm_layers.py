"""The layers of SAN-M: attention over windows, a depthwise memory, feed-forward.

Parameter names are those of the published checkpoint. Source: SAN-M, arXiv:2006.01713.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from step_audio.core.errors import ShapeError

NORM_EPS = 1e-12


@dataclass(frozen=True, slots=True)
class SanmConfig:
    """Facts of a checkpoint; the defaults that stand here are the same in every published one.

    Attributes:
        output_size: width D of the encoder.
        attention_heads: heads of each attention; they divide D.
        linear_units: inner width of the feed-forward parts.
        num_blocks: layers, the first one (560 -> D) included.
        input_size: width of a feature frame.
        kernel_size: taps of the depthwise memory, odd.
        chunk_frames: new frames a chunk.
        history_frames: older rows in front of each window.
        look_back_chunks: how many earlier chunks the attention still sees.
    """

    output_size: int
    attention_heads: int
    linear_units: int
    num_blocks: int
    input_size: int = 560
    kernel_size: int = 11
    chunk_frames: int = 4
    history_frames: int = 5
    look_back_chunks: int = 4

    def __post_init__(self) -> None:
        sizes = (getattr(self, name) for name in self.__slots__)
        if any(not isinstance(size, int) or isinstance(size, bool) or size < 1 for size in sizes):
            raise ShapeError(f"encoder sizes must be positive integers: {self}")
        if self.output_size % self.attention_heads:
            raise ShapeError(f"{self.attention_heads} heads do not divide {self.output_size}")
        if self.input_size % 2 or self.kernel_size % 2 == 0:
            raise ShapeError("input_size must be even and kernel_size odd")

    @property
    def look_back_frames(self) -> int:
        """Rows of keys and values that a layer remembers at most."""
        return self.look_back_chunks * self.chunk_frames


class Affine(nn.Linear):
    """A linear layer that can be packed for serving on a CPU.

    Packed, the 9 rows of a window take half the time of the BLAS that torch calls otherwise, and
    many rows take no longer; it costs a second copy of the weights.
    """

    _packed: Any = None
    _lock: threading.Lock | None = None

    def pack(self) -> None:
        """Lay the weights out for XNNPACK; they must not change afterwards."""
        self._packed = torch.ops.prepacked.linear_clamp_prepack(
            self.weight.detach(), self.bias.detach()
        )
        self._lock = threading.Lock()

    def forward(self, x: Tensor) -> Tensor:
        """(..., D_in) -> (..., D_out); packed only without gradients."""
        if self._lock is None or not torch.is_inference_mode_enabled():
            return super().forward(x)
        with self._lock:  # the operator keeps its arguments in itself while it runs
            out: Tensor = torch.ops.prepacked.linear_clamp_run(x, self._packed)
        return out


class SanmAttention(nn.Module):
    """Scaled dot-product attention plus a depthwise convolution over the window's values."""

    def __init__(self, in_size: int, config: SanmConfig, dropout: float) -> None:
        super().__init__()
        size = config.output_size
        self.heads = config.attention_heads
        self.dropout = dropout
        self.linear_q_k_v = Affine(in_size, 3 * size)
        self.linear_out = Affine(size, size)
        self.fsmn_block = nn.Conv1d(
            size,
            size,
            config.kernel_size,
            padding=config.kernel_size // 2,
            groups=size,
            bias=False,
        )

    def split(self, x: Tensor) -> Tensor:
        """(N, W, D) -> (N, H, W, D / H)."""
        rows: Tensor = x.reshape(x.shape[0], x.shape[1], self.heads, -1)
        return rows.transpose(1, 2)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of the rows, each (N, W, D)."""
        query, key, value = self.linear_q_k_v(x).chunk(3, dim=-1)
        return query, key, value

    def attend(self, query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None) -> Tensor:
        """Return the attention's output.

        Args:
            query: (N, W, D).
            key, value: (N, H, K, D / H).
            seen: bool, broadcastable to (N, H, W, K); None: everything is seen.
        """
        mixed = F.scaled_dot_product_attention(
            self.split(query),
            key,
            value,
            attn_mask=seen,
            dropout_p=self.dropout if self.training else 0.0,
        )
        out: Tensor = self.linear_out(mixed.transpose(1, 2).flatten(2))
        return out

    def memory(self, value: Tensor) -> Tensor:
        """Depthwise convolution over the rows of each window, plus identity; (N, W, D)."""
        if len(value) == 1 and torch.is_inference_mode_enabled():
            # For a single window the convolution's set-up costs more than these few sums.
            taps, reach = self.fsmn_block.weight[:, 0], self.fsmn_block.kernel_size[0] // 2
            near = F.pad(value, (0, 0, reach, reach)).unfold(1, taps.shape[1], 1)
            return (near * taps).sum(-1) + value
        convolved: Tensor = self.fsmn_block(value.transpose(1, 2))
        return convolved.transpose(1, 2) + value


class FeedForward(nn.Module):
    """Two affine maps with a ReLU between."""

    def __init__(self, size: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.w_1 = Affine(size, inner)
        self.w_2 = Affine(inner, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        out: Tensor = self.w_2(self.dropout(F.relu(self.w_1(x))))
        return out


class SanmLayer(nn.Module):
    """Pre-norm attention and feed-forward; no residual around attention where widths differ."""

    def __init__(self, in_size: int, config: SanmConfig, dropout: float) -> None:
        super().__init__()
        size = config.output_size
        self.widens = in_size != size
        self.chunk = config.chunk_frames
        self.look_back = config.look_back_chunks
        self.self_attn = SanmAttention(in_size, config, dropout)
        self.feed_forward = FeedForward(size, config.linear_units, dropout)
        self.norm1 = nn.LayerNorm(in_size, eps=NORM_EPS)
        self.norm2 = nn.LayerNorm(size, eps=NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def _close(self, x: Tensor, attended: Tensor) -> Tensor:
        attended = self.dropout(attended)
        x = attended if self.widens else x + attended
        shown: Tensor = self.dropout(self.feed_forward(self.norm2(x)))
        return x + shown

    def forward_chunk(
        self, window: Tensor, old_key: Tensor, old_value: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run one window (B, W, D_in); return its rows (B, W, D) and all keys and values."""
        attention = self.self_attn
        query, key_rows, value_rows = attention.project(self.norm1(window))
        key, value = attention.split(key_rows), attention.split(value_rows)
        key = torch.cat((old_key, key), dim=2)
        value = torch.cat((old_value, value), dim=2)
        attended = attention.attend(query, key, value, None) + attention.memory(value_rows)
        return self._close(window, attended), key, value

    def forward(self, windows: Tensor, batch: int, seen: Tensor, real: Tensor | None) -> Tensor:
        """Run the windows of all chunks at once.

        Args:
            windows: (B * C, W, D_in), the chunks of a stream next to each other.
            batch: B.
            seen: bool, (B * C, 1, 1, look_back rows + W): keys that exist.
            real: (B * C, W, 1), 0 for rows after the end, which the memory must not see.
        """
        attention = self.self_attn
        query, key, value = attention.project(self.norm1(windows))
        if real is not None:
            value = value * real
        attended = attention.attend(
            query,
            attention.split(self._with_past(key, batch)),
            attention.split(self._with_past(value, batch)),
            seen,
        )
        return self._close(windows, attended + attention.memory(value))

    def _with_past(self, rows: Tensor, batch: int) -> Tensor:
        """(B * C, W, D) -> (B * C, look_back + W, D): what earlier chunks left goes in front."""
        left = rows[:, : self.chunk].reshape(batch, -1, self.chunk, rows.shape[2])
        chunks = left.shape[1]
        left = F.pad(left, (0, 0, 0, 0, self.look_back, 0))
        past = torch.cat([left[:, i : i + chunks] for i in range(self.look_back)], dim=2)
        return torch.cat((past.flatten(0, 1), rows), dim=1)
