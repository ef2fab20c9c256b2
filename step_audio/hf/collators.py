"""Rows of a pack into batches, for `transformers.Trainer` and TRL's `DPOTrainer`.

What is learned is ours: the assistant's turns alone, and in preferences no audio ids
(`step_audio.train.dpo` says why).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from step_audio.core.vocab import Vocab

IGNORED = -100
"""Label of what is not learned."""

Row = Mapping[str, Any] | tuple[Any, Any]


@dataclass(frozen=True, slots=True)
class SequenceCollator:
    """Sequences to `input_ids`, `attention_mask` and `labels`, each (B, T), padded on the right.

    A row is `{"input_ids", "mask"}`, as parquet shards have it, or (ids, mask), as
    `step_audio.data.shards.TokenShards` gives it.
    """

    pad_id: int = 0

    def __call__(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Return the batch."""
        pairs = [(r["input_ids"], r["mask"]) if isinstance(r, Mapping) else r for r in rows]
        ids, mask, here = padded(pairs, self.pad_id)
        return {
            "input_ids": ids,
            "attention_mask": here.long(),
            "labels": ids.masked_fill(~mask, IGNORED),
        }


@dataclass(frozen=True, slots=True)
class PairCollator:
    """Pairs to `input_ids`, `attention_mask`, `completion_mask`, each (2P, T), better ones first.

    A row has `chosen_input_ids`, `chosen_mask` and the same of `rejected`, as parquet shards of
    pairs have them. `mask_audio` leaves audio ids out of the loss; they stay context.
    """

    vocab: Vocab
    mask_audio: bool = True
    pad_id: int = 0

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Return the batch."""
        pairs = [
            (row[f"{side}_input_ids"], row[f"{side}_mask"])
            for side in ("chosen", "rejected")
            for row in rows
        ]
        ids, mask, here = padded(pairs, self.pad_id)
        wanted = mask & (ids < self.vocab.audio_base) if self.mask_audio else mask
        return {
            "input_ids": ids,
            "attention_mask": here.long(),
            "completion_mask": wanted.long(),
        }


def padded(pairs: Sequence[tuple[Any, Any]], pad_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids (B, T) int64, what is learned and what is no padding, both (B, T) bool."""
    longest = max(len(ids) for ids, _ in pairs)
    all_ids = torch.full((len(pairs), longest), pad_id, dtype=torch.long)
    learned = torch.zeros(len(pairs), longest, dtype=torch.bool)
    here = torch.zeros(len(pairs), longest, dtype=torch.bool)
    for at, (ids, mask) in enumerate(pairs):
        all_ids[at, : len(ids)] = torch.from_numpy(np.asarray(ids, np.int64))
        learned[at, : len(ids)] = torch.from_numpy(np.asarray(mask, bool))
        here[at, : len(ids)] = True
    return all_ids, learned, here
