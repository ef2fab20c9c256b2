"""Direct preference optimisation with audio ids masked out of the loss.

A preferred and a rejected answer differ in nearly every audio id, whether they sound better or
not; learning from those ids garbles speech. So only text ids are compared, and audio ids are
context. Sources: DPO, arXiv:2305.18290; the mask: Step-Audio-AQAA report, arXiv:2506.08967.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from step_audio.core.errors import InputError
from step_audio.data.shards import TokenShards
from step_audio.train.batches import collate, shares
from step_audio.train.scoring import Scorer, row_sums
from step_audio.train.workers import TrainingProcesses

REFERENCE_FILE: Final = "reference.safetensors"


def preference_loss(policy: Tensor, reference: Tensor, beta: float) -> Tensor:
    """Return -log sigmoid(beta * margin) of each pair, (P,).

    Args:
        policy: log-probabilities of the answers, (P, 2): preferred, rejected.
        reference: the same by the model before training.
        beta: how far the model may move from the reference; small is far.
    """
    gain = policy - reference
    return -F.logsigmoid(beta * (gain[:, 0] - gain[:, 1]))


class Dpo:
    """An `Objective` over pairs.

    Args:
        shards: of kind "pairs".
        max_length: a pair with a longer answer is left out.
        beta: see `preference_loss`.
        mask_audio: leave audio ids out of the loss; False only to show why.
        sft_weight: adds so much of the preferred answer's own loss, against drifting away.
    """

    rows = 2

    def __init__(
        self,
        shards: TokenShards,
        max_length: int,
        *,
        beta: float = 0.1,
        mask_audio: bool = True,
        sft_weight: float = 0.0,
    ) -> None:
        if shards.kind != "pairs":
            raise InputError(f"{shards.folder} holds no pairs; make them with train reject")
        self._shards, self._max_length = shards, max_length
        self._beta, self._mask_audio, self._sft_weight = beta, mask_audio, sft_weight
        self._reference = torch.zeros(0, 2)

    def lengths(self) -> NDArray[np.int64]:
        longest = self._shards.lengths.reshape(-1, 2).max(axis=1)
        return np.where(longest <= self._max_length, 2 * longest, 0)

    def weight(self, units: Sequence[int]) -> float:
        return float(len(units))

    def prepare(
        self, scorer: Scorer, out: Path, workers: TrainingProcesses, micro_tokens: int
    ) -> None:
        """Score every pair by the model as it is, once; a run that goes on reads the file."""
        path, lengths = out / REFERENCE_FILE, self.lengths()
        if not path.is_file():
            used = np.flatnonzero(lengths).tolist()
            found: list[tuple[int, list[float]]] = []
            for units in shares(used, lengths, micro_tokens, workers.count)[workers.rank]:
                with torch.no_grad():
                    sums, _ = self._sums(scorer, units, workers.device)
                found += zip(units, sums.tolist(), strict=True)
            table = np.zeros((len(lengths), 2), np.float32)
            for unit, row in (item for part in workers.gather(found) for item in part):
                table[unit] = row
            if workers.leads:
                out.mkdir(parents=True, exist_ok=True)
                temporary = path.with_suffix(".tmp")
                save_file({"log_probs": table}, str(temporary))
                temporary.replace(path)
            workers.wait()
        self._reference = torch.from_numpy(load_file(str(path))["log_probs"])

    def loss(
        self, scorer: Scorer, units: Sequence[int], device: torch.device
    ) -> tuple[Tensor, dict[str, float]]:
        policy, counts = self._sums(scorer, units, device)
        if not units:
            return policy.sum() * 0.0, {}
        reference = self._reference[list(units)].to(device)
        each = preference_loss(policy, reference, self._beta)
        own = -policy[:, 0] / counts[:, 0].clamp(min=1)
        gain = (policy - reference).detach()
        return (each + self._sft_weight * own).sum(), {
            "preferred": float((gain[:, 0] > gain[:, 1]).sum()),
            "margin": float((gain[:, 0] - gain[:, 1]).sum()),
            "preferred_nll": float(own.detach().sum()),
        }

    def wanted(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return which positions count, (B, T): the learned ones, audio ids left out."""
        return mask & (ids < self._shards.vocab.audio_base) if self._mask_audio else mask

    def _sums(
        self, scorer: Scorer, units: Sequence[int], device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Return summed log-probabilities and numbers of counted ids, (P, 2) each."""
        ids, mask = collate(self._shards, [2 * u + side for u in units for side in (0, 1)])
        ids, mask = ids.to(device), mask.to(device)
        wanted = self.wanted(ids, mask)
        sums = row_sums(scorer(ids, wanted), wanted)
        counts = wanted[:, 1:].sum(1)
        if not units:
            return sums[:, None].expand(-1, 2)[:0] + sums.sum() * 0, counts[:0, None].expand(-1, 2)
        return sums.view(-1, 2), counts.view(-1, 2)
