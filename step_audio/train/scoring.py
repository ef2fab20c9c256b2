"""The model as training calls it: ids in, log-probabilities of the wanted ids out.

One forward for SFT, DPO and evaluation. Logits exist for wanted positions only, a slice at a
time: 65k text and 5k audio ids in float32 would else be most of a step's memory.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from step_audio.engine.step1 import Step1

LOGIT_ROWS = 1024


class Scorer(nn.Module):
    """Step1 behind a forward that FSDP can wrap."""

    def __init__(self, lm: Step1, *, bf16: bool = False) -> None:
        super().__init__()
        self.lm = lm
        self._bf16 = bf16

    def forward(self, ids: Tensor, wanted: Tensor) -> Tensor:
        """Return log p of each wanted id given all before it, (N,) float32.

        Args:
            ids: (B, T) int64, padded on the right.
            wanted: (B, T) bool with N true values; the first column is never scored.

        Returns:
            In row-major order of `wanted`.
        """
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=self._bf16):
            hidden = self.lm.hidden(ids[:, :-1])[wanted[:, 1:]]
            targets = ids[:, 1:][wanted[:, 1:]]
            weight = self.lm.head_weight
            parts = [
                checkpoint(_log_probs, rows, weight, these, use_reentrant=False)
                for rows, these in zip(
                    torch.split(hidden, LOGIT_ROWS), torch.split(targets, LOGIT_ROWS), strict=True
                )
            ]
        return torch.cat(parts)


def _log_probs(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    logits = F.linear(hidden, weight).float()
    return -F.cross_entropy(logits, targets, reduction="none")


def checkpoint_layers(lm: Step1) -> None:
    """Keep only the input of each layer and compute the rest again in the backward pass."""
    for layer in lm.model.layers:
        # An instance attribute, so that hooks around the layer stay outside of it.
        layer.forward = functools.partial(checkpoint, layer.forward, use_reentrant=False)


def row_sums(values: Tensor, wanted: Tensor) -> Tensor:
    """Return the sum of a `Scorer`'s values in each row of `wanted` (B, T): (B,)."""
    rows = wanted[:, 1:].nonzero()[:, 0]
    return values.new_zeros(len(wanted)).index_add(0, rows, values)
