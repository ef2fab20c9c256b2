"""Preference losses (DPO, chi-PO, REFUEL) with audio ids masked out.

A preferred and a rejected answer differ in nearly every audio id, whether they sound better or
not; learning from those ids garbles speech. So only text ids are compared, and audio ids are
context. Sources: DPO, arXiv:2305.18290; chi-PO, arXiv:2407.13399; REFUEL, arXiv:2410.04612; the
mask: Step-Audio-AQAA report, arXiv:2506.08967.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, get_args

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
Loss = Literal["dpo", "chi-po", "refuel"]
LOSSES: Final[tuple[Loss, ...]] = get_args(Loss)
_EXP_MAX: Final = 80.0
"""Of a log ratio whose exponential is taken: float32 ends at 88."""


def preference_loss(policy: Tensor, reference: Tensor, beta: float) -> Tensor:
    """Return -log sigmoid(beta * margin) of each pair, (P,).

    Args:
        policy: log-probabilities of the answers, (P, 2): preferred, rejected.
        reference: the same by the model before training.
        beta: how far the model may move from the reference; small is far.
    """
    gain = policy - reference
    return -F.logsigmoid(beta * (gain[:, 0] - gain[:, 1]))


def chi_po_loss(policy: Tensor, reference: Tensor, beta: float, reward_range: float) -> Tensor:
    """Return chi-PO's loss of each pair, (P,): -log sigmoid(clip(beta * (phi(z_w) - phi(z_l)))).

    z is the ratio of an answer's probability to its probability before training, and
    phi(z) = z + log z: an answer that became much likelier gains faster than in DPO, and where
    the difference passes the clip nothing more is learned from the pair.

    Args:
        policy, reference, beta: see `preference_loss`.
        reward_range: R, the widest difference of two rewards; the clip is at 2 R on either side.
    """
    gain = policy - reference
    phi = torch.exp(gain.clamp(max=_EXP_MAX)) + gain
    margin = beta * (phi[:, 0] - phi[:, 1])
    return -F.logsigmoid(margin.clamp(-2 * reward_range, 2 * reward_range))


def refuel_loss(policy: Tensor, reference: Tensor, beta: float, rewards: Tensor) -> Tensor:
    """Return REFUEL's loss of each pair, (P,): (beta * margin - (r_w - r_l))^2.

    The difference of the log ratios is regressed on that of the rewards of the whole rest of the
    conversation, in which each of the two answers was gone on from.

    Args:
        policy, reference: see `preference_loss`.
        beta: 1 / eta of the report.
        rewards: reward-to-go of each answer, (P, 2).
    """
    gain = policy - reference
    return (beta * (gain[:, 0] - gain[:, 1]) - (rewards[:, 0] - rewards[:, 1])).square()


class Dpo:
    """An `Objective` over pairs.

    Args:
        shards: of kind "pairs".
        max_length: a pair with a longer answer is left out.
        loss: one of `LOSSES`.
        beta: see `preference_loss`.
        reward_range: of chi-PO's clip; the judge's scores are 0 to 1.
        mask_audio: leave audio ids out of the loss; False only to show why.
        sft_weight: adds so much of the preferred answer's own loss, against drifting away.

    Raises:
        InputError: the pack holds no pairs, or REFUEL is asked for and the pairs have no scores.
    """

    rows = 2

    def __init__(
        self,
        shards: TokenShards,
        max_length: int,
        *,
        loss: Loss = "dpo",
        beta: float = 0.1,
        reward_range: float = 1.0,
        mask_audio: bool = True,
        sft_weight: float = 0.0,
    ) -> None:
        if shards.kind != "pairs":
            raise InputError(f"{shards.folder} holds no pairs; make them with train reject")
        self._shards, self._max_length = shards, max_length
        self._loss, self._reward_range = loss, reward_range
        self._rewards = torch.zeros(0, 2)
        if loss == "refuel":
            scores = shards.scores.reshape(-1, 2)
            if not np.isfinite(scores).all():
                raise InputError(
                    f"{shards.folder} has no scores, on which REFUEL regresses; run train reject"
                    " again, with the candidates that are there"
                )
            self._rewards = torch.from_numpy(scores.astype(np.float32))
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
        each = self._each(policy, reference, units)
        own = -policy[:, 0] / counts[:, 0].clamp(min=1)
        gain = (policy - reference).detach()
        return (each + self._sft_weight * own).sum(), {
            "preferred": float((gain[:, 0] > gain[:, 1]).sum()),
            "margin": float((gain[:, 0] - gain[:, 1]).sum()),
            "preferred_nll": float(own.detach().sum()),
        }

    def _each(self, policy: Tensor, reference: Tensor, units: Sequence[int]) -> Tensor:
        if self._loss == "chi-po":
            return chi_po_loss(policy, reference, self._beta, self._reward_range)
        if self._loss == "refuel":
            rewards = self._rewards[list(units)].to(policy.device)
            return refuel_loss(policy, reference, self._beta, rewards)
        return preference_loss(policy, reference, self._beta)

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
