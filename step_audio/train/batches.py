"""Which sequences make up step n: a pure function of the seed, so that resuming is exact.

Sequences of like length go together. Every worker computes the whole plan and takes its share.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from step_audio.core.errors import InputError
from step_audio.data.shards import TokenShards

_JITTER = 0.1


class BatchPlan:
    """Batches of units (sequences, or pairs) over endless epochs.

    Args:
        lengths: cost of each unit in padded ids, (U,); 0 leaves a unit out.
        batch_tokens: most padded ids of one step, over all workers.
        seed: of the order.

    Raises:
        InputError: no unit is left.
    """

    def __init__(self, lengths: NDArray[np.int64], batch_tokens: int, seed: int) -> None:
        self.lengths = lengths
        self._tokens, self._seed = batch_tokens, seed
        self._units = np.flatnonzero(lengths > 0)
        if not len(self._units):
            raise InputError("no sequence is left to train on; raise --max-length or pack again")
        self._epoch = -1
        self._first, self._batches = 0, self._draw(0)
        self._epoch = 0

    @property
    def steps_per_epoch(self) -> int:
        """Steps of the first epoch; later ones differ by a few."""
        return len(self._draw(0))

    def batch(self, step: int) -> list[int]:
        """Return the units of a step, counted from 0."""
        if step < self._first:
            self._epoch, self._first, self._batches = 0, 0, self._draw(0)
        while step >= self._first + len(self._batches):
            self._first += len(self._batches)
            self._epoch += 1
            self._batches = self._draw(self._epoch)
        return self._batches[step - self._first]

    def _draw(self, epoch: int) -> list[list[int]]:
        rng = np.random.default_rng((self._seed, epoch))
        noise = 1.0 + _JITTER * rng.random(len(self._units))
        order = self._units[np.argsort(self.lengths[self._units] * noise, kind="stable")]
        batches = split(order.tolist(), self.lengths, self._tokens)
        rng.shuffle(batches)
        return batches


def split(units: Sequence[int], lengths: NDArray[np.int64], tokens: int) -> list[list[int]]:
    """Cut a list of units into runs of at most `tokens` padded ids; a longer unit stands alone."""
    runs: list[list[int]] = []
    longest = 0
    for unit in units:
        longest = max(longest, int(lengths[unit]))
        if not runs or (len(runs[-1]) + 1) * longest > tokens:
            runs.append([])
            longest = int(lengths[unit])
        runs[-1].append(unit)
    return runs


def shares(
    batch: Sequence[int], lengths: NDArray[np.int64], micro_tokens: int, workers: int
) -> list[list[list[int]]]:
    """Return the micro-batches of every worker, equally many: sharded layers wait for each other.

    A worker that has fewer gets empty ones at the end.
    """
    # Long and short alternate among workers, so that none waits long for another.
    ordered = sorted(batch, key=lambda unit: (-int(lengths[unit]), unit))
    mine = [split(ordered[rank::workers], lengths, micro_tokens) for rank in range(workers)]
    most = max(len(runs) for runs in mine)
    return [runs + [[] for _ in range(most - len(runs))] for runs in mine]


def collate(shards: TokenShards, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return ids (B, T) int64 and mask (B, T) bool, padded on the right; one empty row for none."""
    if not indices:
        return torch.zeros(1, 2, dtype=torch.long), torch.zeros(1, 2, dtype=torch.bool)
    rows = [shards[index] for index in indices]
    longest = max(len(ids) for ids, _ in rows)
    all_ids = torch.zeros(len(rows), longest, dtype=torch.long)
    all_mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for at, (ids, mask) in enumerate(rows):
        all_ids[at, : len(ids)] = torch.from_numpy(ids)
        all_mask[at, : len(mask)] = torch.from_numpy(mask)
    return all_ids, all_mask
