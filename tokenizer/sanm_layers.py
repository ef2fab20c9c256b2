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

    @property
    def window_frames(self) -> int:
        """Rows of a window: older ones, then the chunk."""
        return self.history_frames + self.chunk_frames


class Affine(nn.Linear):
    """A linear layer, with a ReLU behind it if asked, that can be packed for serving on a CPU.

    Packed, the 9 rows of a window take half the time of the BLAS that torch calls otherwise, and
    many rows take no longer; it costs a second copy of the weights.
    """

    packed: Any = None
    _lock: threading.Lock | None = None

    def __init__(self, in_size: int, out_size: int, *, relu: bool = False) -> None:
        super().__init__(in_size, out_size)
        self.relu = relu

    def pack(self, lock: threading.Lock) -> None:
        """Lay the weights out for XNNPACK; they must not change afterwards.

        Args:
            lock: held while an operator runs, which keeps its arguments in itself.
        """
        self.packed = torch.ops.prepacked.linear_clamp_prepack(
            self.weight.detach(), self.bias.detach(), 0.0 if self.relu else None
        )
        self._lock = lock

    def forward(self, x: Tensor) -> Tensor:
        """(..., D_in) -> (..., D_out); packed only without gradients."""
        if self._lock is None or not torch.is_inference_mode_enabled():
            plain = super().forward(x)
            return F.relu(plain) if self.relu else plain
        with self._lock:
            out: Tensor = torch.ops.prepacked.linear_clamp_run(x, self.packed)
        return out


class SanmAttention(nn.Module):
    """Scaled dot-product attention plus a depthwise convolution over the window's values."""

    packed: Any = None
    _lock: threading.Lock | None = None

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

    def pack(self, lock: threading.Lock) -> None:
        """Lay the memory out for XNNPACK, the identity among its taps; see `Affine.pack`."""
        taps, reach = self.fsmn_block.weight.detach().clone(), self.fsmn_block.kernel_size[0] // 2
        taps[:, :, reach] += 1
        self.packed = torch.ops.prepacked.conv2d_clamp_prepack(
            taps[..., None], None, [1, 1], [reach, 0], [1, 1], len(taps)
        )
        self._lock = lock

    def memory(self, value: Tensor) -> Tensor:
        """Depthwise convolution over the rows of each window, plus identity; (N, W, D)."""
        if torch.is_grad_enabled() and value.device.type == "cpu":
            return self._memory_by_products(value)
        if self._lock is None or not torch.is_inference_mode_enabled():
            convolved: Tensor = self.fsmn_block(value.transpose(1, 2))
            return convolved.transpose(1, 2) + value
        # (N, W, D) is an image of one column, D channels, the last axis innermost: no copy.
        image = value.contiguous()[:, :, None].permute(0, 3, 1, 2)
        with self._lock:
            out: Tensor = torch.ops.prepacked.conv2d_clamp_run(image, self.packed)
        return out[..., 0].transpose(1, 2)

    def _memory_by_products(self, value: Tensor) -> Tensor:
        """`memory` as one banded matrix a channel: its gradient takes a quarter of the time that
        the gradient of a depthwise convolution takes on a CPU."""
        taps = self.fsmn_block.weight[:, 0]
        rows = torch.arange(value.shape[1])
        tap = rows[None, :] - rows[:, None] + taps.shape[1] // 2
        within = (tap >= 0) & (tap < taps.shape[1])
        bands = taps[:, tap.clamp(0, taps.shape[1] - 1)] * within
        mixed = torch.bmm(bands.to(value.dtype), value.permute(2, 1, 0))
        return mixed.permute(2, 1, 0) + value


class SanmFeedForward(nn.Module):
    """Two affine maps with a ReLU between."""

    def __init__(self, size: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.w_1 = Affine(size, inner, relu=True)
        self.w_2 = Affine(inner, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        out: Tensor = self.w_2(self.dropout(self.w_1(x)))
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
        self.feed_forward = SanmFeedForward(size, config.linear_units, dropout)
        self.norm1 = nn.LayerNorm(in_size, eps=NORM_EPS)
        self.norm2 = nn.LayerNorm(size, eps=NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def _close(self, x: Tensor, attended: Tensor) -> Tensor:
        attended = self.dropout(attended)
        x = attended if self.widens else x + attended
        shown: Tensor = self.dropout(self.feed_forward(self.norm2(x)))
        return x + shown

    def forward_chunk(self, window: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """Run one window of each stream.

        Args:
            window: (B, W, D_in).
            past: keys, then values, of earlier rows in any order, (B, K, 2 D); None: none.

        Returns:
            The window's rows, (B, W, D), and its own keys, then values, (B, W, 2 D).
        """
        attention, size = self.self_attn, self.self_attn.linear_out.in_features
        projected: Tensor = attention.linear_q_k_v(self.norm1(window))
        fresh = projected[..., size:]
        known = fresh if past is None else torch.cat((past, fresh), dim=1)
        attended = attention.attend(
            projected[..., :size],
            attention.split(known[..., :size]),
            attention.split(known[..., size:]),
            None,
        )
        attended = attended + attention.memory(fresh[..., size:])
        return self._close(window, attended), fresh

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
