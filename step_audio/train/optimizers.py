"""Muon for the matrices inside layers, AdamW for everything else, behind one face.

Muon needs about a third fewer steps on these small models. Source: Muon, arXiv:2502.16982.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn


class MuonAndAdam:
    """One optimizer for `TrainingRun`: both parts follow the same schedule.

    Args:
        matrices: parameters (N, K) for Muon.
        rest: all other parameters.
        weight_decay: of the matrices.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        rest: Iterable[nn.Parameter],
        weight_decay: float = 0.02,
    ) -> None:
        self._muon = torch.optim.Muon(
            list(matrices), lr=1e-3, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        self._adam = torch.optim.AdamW(list(rest), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [*self._muon.param_groups, *self._adam.param_groups]

    def step(self) -> None:
        self._muon.step()  # type: ignore[no-untyped-call]
        self._adam.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        self._muon.zero_grad(set_to_none)
        self._adam.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self._muon.state_dict(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._muon.load_state_dict(state["muon"])
        self._adam.load_state_dict(state["adam"])


def for_layers(model: nn.Module, layers: Iterable[nn.Module]) -> MuonAndAdam:
    """Return the optimizer of a model whose `layers` hold the matrices for Muon."""
    matrices = [p for layer in layers for p in layer.parameters() if p.dim() == 2]
    inside = {id(p) for p in matrices}
    return MuonAndAdam(matrices, [p for p in model.parameters() if id(p) not in inside])
