"""Supervised fine-tuning: the ids of the assistant's turns, predicted one by one.

Stage 1 takes everything, stage 2 a smaller, better set from where stage 1 ended: two runs of one
command. Source: Step-Audio-AQAA report, arXiv:2506.08967.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from step_audio.core.errors import InputError
from step_audio.data.shards import TokenShards
from step_audio.train.batches import collate
from step_audio.train.scoring import Scorer
from step_audio.train.workers import TrainingProcesses


class Sft:
    """An `Objective` over the sequences of a pack.

    Args:
        shards: of kind "sft"; other packs are refused.
        max_length: longer sequences are left out.
        text_weight: of a text id, where an audio id counts 1: a text id decides what is said, an
            audio id how a 60th of a second of it sounds.
    """

    rows = 1

    def __init__(self, shards: TokenShards, max_length: int, text_weight: float = 1.0) -> None:
        if shards.kind != "sft":
            raise InputError(f"{shards.folder} holds {shards.kind}, not sequences; use train dpo")
        self._shards, self._max_length, self._text_weight = shards, max_length, text_weight

    def lengths(self) -> NDArray[np.int64]:
        found = self._shards.lengths
        return np.where(found <= self._max_length, found, 0)

    def prepare(
        self, scorer: Scorer, out: Path, workers: TrainingProcesses, micro_tokens: int
    ) -> None:
        """Nothing to prepare."""

    def weight(self, units: Sequence[int]) -> float:
        total = 0.0
        for unit in units:
            ids, mask = self._shards[unit]
            audio = ids[1:][mask[1:]] >= self._shards.vocab.audio_base
            total += float(audio.sum() + self._text_weight * (~audio).sum())
        return total

    def loss(
        self, scorer: Scorer, units: Sequence[int], device: torch.device
    ) -> tuple[Tensor, dict[str, float]]:
        ids, mask = collate(self._shards, units)
        ids, mask = ids.to(device), mask.to(device)
        each = -scorer(ids, mask)
        audio = ids[:, 1:][mask[:, 1:]] >= self._shards.vocab.audio_base
        known = each.detach()
        return (each * torch.where(audio, 1.0, self._text_weight)).sum(), {
            "text": float(known[~audio].sum()),
            "count_text": float((~audio).sum()),
            "audio": float(known[audio].sum()),
            "count_audio": float(audio.sum()),
        }
