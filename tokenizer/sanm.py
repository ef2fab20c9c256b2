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
from tokenizer.sanm_layers import NORM_EPS, SanmConfig, SanmLayer

__all__ = ["SanmCache", "SanmConfig", "SanmEncoder"]

_LONGEST_WAVE = 10000.0


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
        self.after_norm = nn.LayerNorm(size, eps=NORM_EPS)

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
