"""The SAN-M encoder of streaming Paraformer: self-attention with a depthwise memory, by chunks.

Every chunk of 4 new frames is seen as a window of 9 rows (5 older rows first) and attends to
itself and to what the 4 chunks before it left behind; nothing looks ahead. Two paths compute the
same numbers: `forward_chunk` with an explicit cache, `forward` over all chunks at once.

Parameter names are those of the published checkpoint without its `encoder.` prefix.
Source: SAN-M, arXiv:2006.01713; Paraformer online (FunASR), `SANMEncoderChunkOpt`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from step_audio.core.errors import ShapeError

_NORM_EPS = 1e-12
_LONGEST_WAVE = 10000.0


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


@dataclass(slots=True)
class SanmCache:
    """State of one stream (or of B streams in step).

    Attributes:
        position: frames embedded so far.
        history: last embedded rows, (B, history, 560); zeros at the start, and not masked.
        keys, values: per layer, (B, H, at most look_back rows, D / H).
        closed: True after a chunk shorter than the others, which can only be the last one.
    """

    history: Tensor
    position: int = 0
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    closed: bool = False


def sinusoids(first: int, count: int, width: int, device: torch.device) -> Tensor:
    """Return positions `first`.. as (count, width) float32: sines, then cosines."""
    half = width // 2
    rates = torch.exp(
        torch.arange(half, dtype=torch.float32, device=device)
        * (-math.log(_LONGEST_WAVE) / (half - 1))
    )
    steps = torch.arange(first, first + count, dtype=torch.float32, device=device)
    angles = steps[:, None] * rates
    return torch.cat((angles.sin(), angles.cos()), dim=1)


class SanmAttention(nn.Module):
    """Scaled dot-product attention plus a depthwise convolution over the window's values."""

    def __init__(self, in_size: int, config: SanmConfig, dropout: float) -> None:
        super().__init__()
        size = config.output_size
        self.heads = config.attention_heads
        self.dropout = dropout
        self.linear_q_k_v = nn.Linear(in_size, 3 * size)
        self.linear_out = nn.Linear(size, size)
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
        convolved: Tensor = self.fsmn_block(value.transpose(1, 2))
        return convolved.transpose(1, 2) + value


class FeedForward(nn.Module):
    """Two affine maps with a ReLU between."""

    def __init__(self, size: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.w_1 = nn.Linear(size, inner)
        self.w_2 = nn.Linear(inner, size)
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
        self.norm1 = nn.LayerNorm(in_size, eps=_NORM_EPS)
        self.norm2 = nn.LayerNorm(size, eps=_NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def _close(self, x: Tensor, attended: Tensor) -> Tensor:
        attended = self.dropout(attended)
        x = attended if self.widens else x + attended
        shown: Tensor = self.dropout(self.feed_forward(self.norm2(x)))
        return x + shown

    def forward_chunk(
        self, window: Tensor, old_key: Tensor | None, old_value: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run one window (B, W, D_in); return its rows (B, W, D) and all keys and values."""
        attention = self.self_attn
        query, key_rows, value_rows = attention.project(self.norm1(window))
        key, value = attention.split(key_rows), attention.split(value_rows)
        if old_key is not None and old_value is not None:
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


class SanmEncoder(nn.Module):
    """LFR features at 16.7 Hz to frames of the same rate; latency is one chunk, no look-ahead.

    Args:
        config: sizes of the checkpoint.
        dropout: for training; 0 leaves the published computation.
    """

    def __init__(self, config: SanmConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        size = config.output_size
        self.encoders0 = nn.ModuleList([SanmLayer(config.input_size, config, dropout)])
        self.encoders = nn.ModuleList(
            SanmLayer(size, config, dropout) for _ in range(config.num_blocks - 1)
        )
        self.after_norm = nn.LayerNorm(size, eps=_NORM_EPS)

    def _layers(self) -> list[SanmLayer]:
        layers = [*self.encoders0, *self.encoders]
        return [layer for layer in layers if isinstance(layer, SanmLayer)]

    def _embed(self, feats: Tensor, position: int) -> Tensor:
        width = self.config.input_size
        if feats.dim() != 3 or feats.shape[2] != width:
            raise ShapeError(f"features are {tuple(feats.shape)}, expected (B, T, {width})")
        waves = sinusoids(position + 1, feats.shape[1], width, feats.device)
        return feats * math.sqrt(self.config.output_size) + waves

    def open(self, batch: int = 1) -> SanmCache:
        """Return the state of a fresh stream (of `batch` streams in step)."""
        device = self.after_norm.weight.device
        shape = (batch, self.config.history_frames, self.config.input_size)
        return SanmCache(history=torch.zeros(shape, device=device))

    def forward_chunk(self, feats: Tensor, cache: SanmCache) -> Tensor:
        """Encode the next chunk and advance `cache`.

        Args:
            feats: (B, n, 560), n = chunk_frames; only the last chunk of a stream may be shorter.
            cache: from `open`, changed in place.

        Returns:
            Frames, (B, n, D).

        Raises:
            ShapeError: wrong width or length, or a chunk after a short one.
        """
        config = self.config
        count = feats.shape[1] if feats.dim() == 3 else 0
        if cache.closed or not 1 <= count <= config.chunk_frames:
            raise ShapeError(
                f"features are {tuple(feats.shape)}: a chunk has {config.chunk_frames} frames, "
                "and only the last one may be shorter"
            )
        window = torch.cat((cache.history, self._embed(feats, cache.position)), dim=1)
        cache.history = window[:, -config.history_frames :]
        cache.position += count
        cache.closed = count < config.chunk_frames
        keys, values = [], []
        for index, layer in enumerate(self._layers()):
            old_key = cache.keys[index] if cache.keys else None
            old_value = cache.values[index] if cache.values else None
            window, key, value = layer.forward_chunk(window, old_key, old_value)
            # The window's last 5 rows come again as the next window's first rows.
            keep = slice(-config.look_back_frames - config.history_frames, -config.history_frames)
            keys.append(key[:, :, keep])
            values.append(value[:, :, keep])
        cache.keys, cache.values = keys, values
        out: Tensor = self.after_norm(window[:, -count:])
        return out

    def forward(self, feats: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode whole utterances, all chunks in parallel; equal to `forward_chunk` in a loop.

        Args:
            feats: (B, T, 560).
            lengths: (B,), frames of each utterance where padding follows. Without it padding
                counts as input: it changes frames of the utterance's last chunk, none before.

        Returns:
            Frames, (B, T, D); what stands after an utterance's length means nothing.
        """
        batch, steps = feats.shape[0], feats.shape[1]
        chunk = self.config.chunk_frames
        embedded = self._embed(feats, 0)
        if steps == 0:
            return embedded.new_zeros(batch, 0, self.config.output_size)
        chunks = -(-steps // chunk)
        if lengths is None and steps % chunk:
            lengths = torch.full((batch,), steps, device=feats.device)
        history = self.config.history_frames
        padded = F.pad(embedded, (0, 0, history, chunks * chunk - steps))
        x = padded.unfold(1, history + chunk, chunk).transpose(2, 3).flatten(0, 1)
        seen, real = self._masks(batch, chunks, lengths, feats.device)
        for layer in self._layers():
            x = layer(x, batch, seen, real)
        out: Tensor = self.after_norm(x[:, history:])
        return out.reshape(batch, chunks * chunk, -1)[:, :steps]

    def _masks(
        self, batch: int, chunks: int, lengths: Tensor | None, device: torch.device
    ) -> tuple[Tensor, Tensor | None]:
        """Return `seen` (B * C, 1, 1, look_back + W) and `real` (B * C, W, 1) of the windows."""
        config = self.config
        age = torch.arange(config.look_back_chunks, 0, -1, device=device)
        past = torch.arange(chunks, device=device)[:, None] >= age  # (C, look_back_chunks)
        past = past.repeat_interleave(config.chunk_frames, dim=1).expand(batch, -1, -1)
        rows = torch.ones(
            batch,
            chunks,
            config.history_frames + config.chunk_frames,
            dtype=torch.bool,
            device=device,
        )
        if lengths is not None:
            steps = torch.arange(chunks * config.chunk_frames, device=device)
            fresh = steps < lengths[:, None]
            rows[:, :, config.history_frames :] = fresh.reshape(batch, chunks, -1)
        seen = torch.cat((past, rows), dim=2).flatten(0, 1)[:, None, None]
        real = None if lengths is None else rows.flatten(0, 1)[:, :, None]
        return seen, real
