"""One comparison with the reference: what is computed, how far off it may be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from safetensors.torch import load_file
from torch import Tensor

Errors = Iterator[tuple[str, float]]
"""(case, its error) one after the other."""


@dataclass(frozen=True, slots=True)
class Component:
    """What one line of the report is about.

    Attributes:
        name: what is compared.
        limit: largest error that passes; 0 for what must be equal, where errors are counts.
        errors: folder of goldens to the error of each case that it holds.
    """

    name: str
    limit: float
    errors: Callable[[Path], Errors]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A component's cases, or why they could not be computed."""

    component: Component
    cases: int = 0
    worst: float = 0.0
    worst_case: str = ""
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Whether there were cases and all of them were near enough; NaN is not."""
        return not self.problem and self.cases > 0 and self.worst <= self.component.limit

    def __str__(self) -> str:
        found = self.problem or f"{self.cases} cases, worst {self.worst:.2e} ({self.worst_case})"
        mark = "ok  " if self.passed else "FAIL"
        return f"{mark} {self.component.name}: {found}, limit {self.component.limit:.0e}"


def check(component: Component, folder: Path) -> Outcome:
    """Compare one component; a folder that it cannot be read from is an outcome too."""
    cases, worst, worst_case = 0, -1.0, ""
    try:
        for case, error in component.errors(folder):
            cases += 1
            # NaN compares false with everything, so it is looked for.
            if np.isnan(error) or error > worst:
                worst, worst_case = error, case
            if np.isnan(worst):
                break
    except Exception as error:  # whatever is wrong with a folder, the other lines still come
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return Outcome(component, cases, problem=reason[:300])
    if not cases:
        return Outcome(component, problem="no cases found")
    return Outcome(component, cases, worst, worst_case)


def gap(ours: ArrayLike | Tensor, wanted: ArrayLike | Tensor) -> float:
    """Return the largest absolute difference; infinite where the shapes differ."""
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    if a.shape != b.shape:
        return float("inf")
    return float(np.abs(a - b).max(initial=0.0))


def relative_rms(ours: Tensor, wanted: Tensor) -> float:
    """Return the RMS of the difference over the RMS of `wanted`; infinite where shapes differ."""
    if ours.shape != wanted.shape:
        return float("inf")
    return float((ours - wanted).square().mean().sqrt() / wanted.square().mean().sqrt())


def differing(ours: Sequence[Any], wanted: Sequence[Any]) -> float:
    """Return how many entries of two lists differ, missing and surplus ones included."""
    pairs = sum(a != b for a, b in zip(ours, wanted, strict=False))
    return float(pairs + abs(len(ours) - len(wanted)))


@cache
def arrays(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a recorded file; they are shared and must not be changed."""
    return dict(load_file(path))


def facts(path: Path) -> dict[str, Any]:
    """Return a recorded JSON object."""
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return raw


def cases_with(tensors: dict[str, Tensor], name: str) -> list[str]:
    """Return the cases that have a tensor of that name, in the file's order."""
    return [key.removesuffix(f".{name}") for key in tensors if key.endswith(f".{name}")]


def case_of(tensors: dict[str, Tensor], case: str) -> dict[str, Tensor]:
    """Return the tensors of one case by their own names."""
    start = f"{case}."
    return {key.removeprefix(start): v for key, v in tensors.items() if key.startswith(start)}


def read_weights(module: torch.nn.Module, path: Path, prefix: str = "") -> None:
    """Load recorded weights into a module, names exactly as the reference's."""
    module.load_state_dict({k.removeprefix(prefix): v for k, v in arrays(path).items()})
    module.eval().requires_grad_(requires_grad=False)
