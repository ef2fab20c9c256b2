"""Loss on units that are held out of a training: curves, the best weights, an end that is early.

eval.jsonl   one row a measurement, step 0 is the start
best/        the weights of the lowest loss after the start
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from step_audio.core.json_lines import RowWriter, read_rows, write_rows
from step_audio.train.batches import shares
from step_audio.train.scoring import Scorer
from step_audio.train.workers import TrainingProcesses

if TYPE_CHECKING:
    from step_audio.train.finetune import Objective

EVAL_FILE: Final = "eval.jsonl"
BEST: Final = "best"


def held_units(lengths: NDArray[np.int64], share: float, seed: int) -> list[int]:
    """Return the units that are measured, not learned from: the same for the same seed.

    Args:
        lengths: cost of each unit, 0 where it is left out, (U,).
        share: of the units that are used, 0 for none; of few at least one, never all.
    """
    used = np.flatnonzero(lengths > 0)
    if share <= 0 or len(used) < 2:
        return []
    count = min(len(used) - 1, max(1, round(share * len(used))))
    drawn = np.random.default_rng((seed, 24)).choice(used, count, replace=False)
    return sorted(int(unit) for unit in drawn)


def means(sums: Mapping[str, float], total: float, workers: TrainingProcesses) -> dict[str, float]:
    """Return the figures of some units from the sums of every worker; `count_x` divides `x`.

    Figures of which there is nothing, such as audio ids in a batch of text, are left out. A worker
    whose share was empty has none of them, so all agree on the names first.
    """
    names = sorted({name for found in workers.gather(list(sums)) for name in found})
    summed = dict(zip(names, workers.total([sums.get(name, 0.0) for name in names]), strict=True))
    found = {"loss": summed.pop("loss") / max(total, 1e-9)}
    for name, value in summed.items():
        count = summed.get(f"count_{name}", total)
        if not name.startswith("count_") and count:
            found[name] = value / count
    return found


class Evaluation:
    """Measures a run when it is due, and says when it goes on for nothing.

    Args:
        out: folder of the run.
        objective: what is minimised.
        units: held out; none: nothing is ever due.
        every: steps between two measurements.
        steps: of the whole run; its end is measured too.
        patience: measurements without a better one after which the run ends; None: never.
    """

    def __init__(
        self,
        out: Path,
        objective: Objective,
        units: Sequence[int],
        *,
        every: int,
        steps: int,
        patience: int | None = None,
    ) -> None:
        self._out, self._objective, self._units = out, objective, units
        self._every, self._steps, self._patience = every, steps, patience
        self._lengths = objective.lengths()
        self.rows: list[dict[str, Any]] = []

    def resume(self, step: int, workers: TrainingProcesses) -> None:
        """Read what was measured up to a step; what came later is forgotten."""
        path = self._out / EVAL_FILE
        self.rows = [row for row in read_rows(path) if row["step"] <= step]
        workers.wait()
        if workers.leads and path.is_file():
            write_rows(path, self.rows)
        workers.wait()

    def due(self, step: int) -> bool:
        """Return whether a step is measured that was not yet."""
        known = any(row["step"] == step for row in self.rows)
        return bool(self._units) and not known and (step % self._every == 0 or step == self._steps)

    @property
    def over(self) -> bool:
        """Whether the last measurements, as many as `patience`, brought nothing."""
        best = self.best
        if self._patience is None or best is None:
            return False
        since = sum(1 for row in self.rows if row["step"] > best["step"])
        return since >= self._patience

    @property
    def best(self) -> dict[str, Any] | None:
        """The row of the lowest loss, the start included; None before the first."""
        return min(self.rows, key=lambda row: row["loss"]) if self.rows else None

    def measure(
        self,
        scorer: Scorer,
        step: int,
        workers: TrainingProcesses,
        micro_tokens: int,
        save: Callable[[Path], None],
    ) -> dict[str, float]:
        """Measure, note it, and keep the weights if no later step than the start was better.

        Args:
            save: writes the weights to a folder; every worker calls it.
        """
        scorer.eval()
        runs = shares(self._units, self._lengths, micro_tokens, workers.count)[workers.rank]
        weight = sum(self._objective.weight(units) for units in runs)
        sums: dict[str, float] = {}
        with torch.no_grad():
            for units in runs:
                loss, parts = self._objective.loss(scorer, units, workers.device)
                for name, value in {"loss": float(loss), **parts}.items():
                    sums[name] = sums.get(name, 0.0) + value
        scorer.train()
        (total,) = workers.total([weight])
        found = means(sums, total, workers)
        later = [row["loss"] for row in self.rows if row["step"] > 0]
        if step > 0 and (not later or found["loss"] < min(later)):
            self._keep(save, workers)
        row = {"step": step, **found}
        self.rows.append(row)
        if workers.leads:
            with RowWriter(self._out / EVAL_FILE) as rows:
                rows.add(row)
        return found

    def _keep(self, save: Callable[[Path], None], workers: TrainingProcesses) -> None:
        part = self._out / f"{BEST}.part"
        if workers.leads:
            shutil.rmtree(part, ignore_errors=True)
        workers.wait()
        save(part)
        if workers.leads:
            shutil.rmtree(self._out / BEST, ignore_errors=True)
            part.rename(self._out / BEST)
        workers.wait()

    def summary(self) -> str:
        """Return what came of it, in a line; "" when nothing was measured."""
        best = self.best
        if best is None or len(self.rows) < 2:
            return ""
        start = self.rows[0]["loss"]
        if not best["step"]:
            return f"held-out loss {start:.4g} at the start, and no step was better"
        return f"held-out loss {start:.4g} at the start, {best['loss']:.4g} at step {best['step']}"
