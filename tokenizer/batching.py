"""Streams that are due together share one pass of the encoder.

Stages are synchronous and run in threads, so batching is a meeting of threads: whoever comes first
leads, waits a few milliseconds for the others, and runs one pass for all.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from weakref import WeakSet

import torch
from torch import Tensor

from tokenizer.sanm import SanmCache, SanmEncoder


@dataclass(slots=True, eq=False)
class _Ticket:
    """One stream's chunk, until `frames` or `error` is there."""

    feats: Tensor
    cache: SanmCache
    frames: Tensor | None = None
    error: BaseException | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """What has to be equal within a pass: new frames, and remembered rows."""
        return self.feats.shape[1], self.cache.remembered

    @property
    def done(self) -> bool:
        return self.frames is not None or self.error is not None

    def result(self) -> Tensor:
        if self.frames is None:
            raise self.error or RuntimeError("no pass took this chunk")
        return self.frames


class ChunkBatcher:
    """Runs the chunks of many streams, several at a time. Shared by their threads.

    Frames are those of `SanmEncoder.forward_chunk` but for rounding (1e-5). A stream waits for
    its own pass only: one that stops pushing, or is dropped, holds up nobody.

    Args:
        encoder: in evaluation mode.
        limit: most streams of a pass.
        wait_s: how long the first one waits for others; never when no other stream is open.
    """

    def __init__(self, encoder: SanmEncoder, limit: int, wait_s: float = 0.004) -> None:
        self._encoder, self._limit, self._wait_s = encoder, limit, wait_s
        self._changed = threading.Condition()
        self._waiting: list[_Ticket] = []
        self._leading = False
        self._open: WeakSet[SanmCache] = WeakSet()

    def __deepcopy__(self, memo: dict[int, object]) -> ChunkBatcher:
        """Return itself: a copied stream shares its model."""
        return self

    def open(self) -> SanmCache:
        """Return the state of a fresh stream; to drop it is to close the stream."""
        cache = self._encoder.open()
        with self._changed:
            self._open.add(cache)
        return cache

    def forward(self, feats: Tensor, cache: SanmCache) -> Tensor:
        """Encode the next chunk, (1, n, 560) -> (1, n, D), and advance `cache`.

        Raises:
            ShapeError: as `SanmEncoder.forward_chunk`; no other stream notices.
        """
        self._encoder.check_chunk(feats, cache)
        ticket = _Ticket(feats, cache)
        with self._changed:
            self._waiting.append(ticket)
            self._changed.notify_all()
            while self._leading and not ticket.done:
                self._changed.wait()
            if ticket.done:
                return ticket.result()
            self._leading = True
        try:
            self._run(self._gather(ticket))
        finally:
            with self._changed:
                self._leading = False
                self._changed.notify_all()
        return ticket.result()

    def _gather(self, own: _Ticket) -> list[_Ticket]:
        """Return who runs in this pass, `own` first, and take them from the queue."""
        deadline = time.monotonic() + self._wait_s
        with self._changed:
            while True:
                fitting = [t for t in self._waiting if t is not own and t.shape == own.shape]
                batch = [own, *fitting][: self._limit]
                left_s = deadline - time.monotonic()
                if len(batch) >= min(self._limit, len(self._open)) or left_s <= 0:
                    self._waiting = [t for t in self._waiting if t not in batch]
                    return batch
                self._changed.wait(left_s)

    @torch.inference_mode()
    def _run(self, batch: list[_Ticket]) -> None:
        try:
            frames = self._encoder.forward_chunks(
                [ticket.feats for ticket in batch], [ticket.cache for ticket in batch]
            )
        except BaseException as error:  # every thread that waits must learn of it
            for ticket in batch:
                ticket.error = error
        else:
            for ticket, own in zip(batch, frames, strict=True):
                ticket.frames = own
