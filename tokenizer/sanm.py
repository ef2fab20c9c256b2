"""The SAN-M encoder of streaming Paraformer: self-attention with a depthwise memory, by chunks.

Every chunk of 4 new frames is seen as a window of 9 rows (5 older rows first) and attends to
itself and to what the 4 chunks before it left behind; nothing looks ahead. Two paths compute the
same numbers: `forward_chunk` with an explicit cache, `forward` over all chunks at once.

Parameter names are those of the published checkpoint without its `encoder.` prefix.
Source: SAN-M, arXiv:2006.01713; Paraformer online (FunASR), `SANMEncoderChunkOpt`.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.backends import xnnpack
from torch.nn import functional as F

from step_audio.core.errors import ShapeError
from tokenizer.sanm_layers import NORM_EPS, Affine, SanmAttention, SanmConfig, SanmLayer
from tokenizer.sanm_script import Pass, compile_pass

__all__ = ["SanmCache", "SanmConfig", "SanmEncoder"]

_LONGEST_WAVE = 10000.0


@dataclass(slots=True, eq=False)
class SanmCache:
    """State of one stream (or of B streams in step), of a size that does not change.

    Attributes:
        history: last embedded rows, (B, history, 560); zeros at the start, and not masked.
        memory: keys, then values, that chunks left behind, (layers, B, look_back, 2 D). A ring of
            chunks: attention does not ask for their order.
        position: frames embedded so far.
        closed: True after a chunk shorter than the others, which can only be the last one.
    """

    history: Tensor
    memory: Tensor
    position: int = 0
    closed: bool = False

    @property
    def remembered(self) -> int:
        """Rows of `memory` that hold something."""
        return min(self.position, self.memory.shape[2])


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
        self._packed: tuple[threading.Lock, Pass] | None = None

    def pack(self) -> None:
        """Prepare for serving on one CPU thread, if that is where this serves.

        Whoever serves calls it once; a model that is trained or moved is not packed.
        """
        built_in = bool(xnnpack.enabled)  # type: ignore[attr-defined] # a module in disguise
        # XNNPACK's own threads spin while they wait, which costs more than they give.
        one_thread = torch.get_num_threads() == 1
        if not built_in or not one_thread or self.after_norm.weight.device.type != "cpu":
            return
        torch.set_num_threads(1)  # said aloud: its pool does not read OMP_NUM_THREADS
        lock = threading.Lock()
        for layer in self.modules():
            if isinstance(layer, Affine | SanmAttention):
                layer.pack(lock)
        self._packed = lock, compile_pass(self._layers())

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
        config, weight = self.config, self.after_norm.weight
        history = weight.new_zeros((batch, config.history_frames, config.input_size))
        shape = (config.num_blocks, batch, config.look_back_frames, 2 * config.output_size)
        return SanmCache(history, weight.new_zeros(shape))

    def remembered(self, cache: SanmCache) -> tuple[Tensor, Tensor]:
        """Return keys and values that the next chunk attends to, oldest first.

        Each is (layers, B, H, at most look_back, D / H).
        """
        ring = cache.memory.shape[2]
        first = cache.position - cache.remembered
        order = [row % ring for row in range(first, cache.position)]
        shape = (*cache.memory.shape[:2], len(order), 2, self.config.attention_heads, -1)
        rows = cache.memory[:, :, order].reshape(*shape)
        keys, values = rows.permute(3, 0, 1, 4, 2, 5)
        return keys, values

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
        self.check_chunk(feats, cache)
        config, count = self.config, feats.shape[1]
        window = torch.cat((cache.history, self._embed(feats, cache.position)), dim=1)
        history = window[:, -config.history_frames :].clone()
        oldest = cache.position % config.look_back_frames
        if self._packed is not None and torch.is_inference_mode_enabled():
            lock, run = self._packed
            with lock:
                window = run(window, cache.memory, oldest, cache.remembered)
        else:
            window = self._run(window, cache.memory, oldest, cache.remembered)
        cache.history = history
        cache.position += count
        cache.closed = count < config.chunk_frames
        frames: Tensor = self.after_norm(window[:, -count:])
        return frames

    def _run(self, window: Tensor, memory: Tensor, oldest: int, known: int) -> Tensor:
        """Take a window through all layers; see `sanm_script.Pass`."""
        length = self.config.chunk_frames
        for number, layer in enumerate(self._layers()):
            past = memory[number, :, :known] if known else None
            window, fresh = layer.forward_chunk(window, past)
            # The window's last 5 rows come again as the next window's first rows.
            memory[number, :, oldest : oldest + length] = fresh[:, :length]
        return window

    def check_chunk(self, feats: Tensor, cache: SanmCache) -> None:
        """Raise ShapeError unless `feats` can be the next chunk of the stream of `cache`."""
        config = self.config
        count = feats.shape[1] if feats.dim() == 3 else 0
        if cache.closed or not 1 <= count <= config.chunk_frames:
            raise ShapeError(
                f"features are {tuple(feats.shape)}: a chunk has {config.chunk_frames} frames, "
                "and only the last one may be shorter"
            )
        if feats.shape[0] != cache.history.shape[0] or feats.shape[2] != config.input_size:
            raise ShapeError(
                f"features are {tuple(feats.shape)}, expected "
                f"({cache.history.shape[0]}, T, {config.input_size})"
            )

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
            config.window_frames,
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
