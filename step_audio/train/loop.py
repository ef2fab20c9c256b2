"""One training run: a time budget, a schedule over it, atomic checkpoints, resumption, a log.

Every trainer of the project drives its own step through a `TrainingRun`, so that all of them
resume, save and report alike. The budget is wall-clock minutes (what a person has), or steps.
"""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from torch import nn

MEAN_STEPS: Final = 50
"""A figure in the log is the mean of so many steps before it, or of as many as there are."""

EXACT: Final = frozenset({"learning_rate"})
"""Figures that are shown as they are in the newest step: their mean would say nothing."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a run lasts: by minutes of wall clock, unless `steps` is given."""

    minutes: float = 30.0
    steps: int | None = None


class Optimizer(Protocol):
    """What a run needs of an optimizer, torch's own or a pair of them."""

    @property
    def param_groups(self) -> list[dict[str, Any]]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any], /) -> None: ...


def pick_device(name: str = "auto") -> torch.device:
    """Return the named device; "auto" is CUDA when there is one, otherwise the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def trapezoid(fraction: float, step: int, warm_steps: int = 100, hold: float = 0.4) -> float:
    """Return the learning-rate factor: linear warm-up, a plateau, then a linear fall to 3 %."""
    warm = min(1.0, (step + 1) / warm_steps)
    fall = 1.0 if fraction < hold else max(0.03, (1.0 - fraction) / (1.0 - hold))
    return warm * fall


def save_atomically(state: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint so that a cut-off leaves the previous one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    torch.save(dict(state), temporary)
    os.replace(temporary, path)


@dataclass
class TrainingRun:
    """Clock, checkpoint and log of one run. SIGTERM ends it after its step, with nothing lost.

    Attributes:
        out: folder for `checkpoint.pt` and `log.jsonl`.
        modules: what is saved and restored, by name.
        optimizer: likewise.
        budget: see `Budget`.
        extra: further state that must survive a restart; values that `torch.save` takes.
    """

    out: Path
    modules: dict[str, nn.Module]
    optimizer: Optimizer
    budget: Budget
    save_every_s: float = 120.0
    log_every_s: float = 20.0
    extra: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    used_s: float = 0.0

    def __post_init__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        self._mark = self._saved = self._logged = time.monotonic()
        self._recent: dict[str, deque[float]] = {}
        self._told_to_stop = False
        self._usual: Any = None
        if threading.current_thread() is threading.main_thread():
            self._usual = signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, *_: object) -> None:
        self._told_to_stop = True

    def stops(self) -> bool:
        """Return whether the run ends after this step because somebody said so."""
        return self._told_to_stop

    def restart_clock(self) -> None:
        """Leave out of the budget what was done since the run was made."""
        self._mark = time.monotonic()

    @property
    def checkpoint(self) -> Path:
        return self.out / "checkpoint.pt"

    @property
    def fraction(self) -> float:
        """Share of the budget that is used, 0 to 1."""
        if self.budget.steps is not None:
            return min(1.0, self.step / self.budget.steps) if self.budget.steps else 1.0
        return min(1.0, self.used_s / (60.0 * max(1e-6, self.budget.minutes)))

    @property
    def done(self) -> bool:
        return self.fraction >= 1.0

    def resume(self) -> bool:
        """Load the checkpoint if there is one; True when it was."""
        if not self.checkpoint.exists():
            return False
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.used_s, self.extra = state["step"], state["used_s"], state["extra"]
        return True

    def save(self) -> None:
        """Write the checkpoint now."""
        save_atomically(
            {
                "modules": {name: module.state_dict() for name, module in self.modules.items()},
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
                "used_s": self.used_s,
                "extra": self.extra,
            },
            self.checkpoint,
        )
        self._saved = time.monotonic()

    def set_learning_rate(self, peak: float, warm_steps: int = 100, hold: float = 0.4) -> None:
        """Apply the schedule to every parameter group (times the group's own `scale`)."""
        factor = trapezoid(self.fraction, self.step, warm_steps, hold)
        for group in self.optimizer.param_groups:
            group["lr"] = peak * factor * group.get("scale", 1.0)

    def advance(self, metrics: Mapping[str, float]) -> None:
        """Count one step, fold its metrics into running means, log and save when due.

        Raises:
            SystemExit: the run was told to stop; its checkpoint is written.
        """
        now = time.monotonic()
        self.step += 1
        self.used_s += now - self._mark
        self._mark = now
        for name, value in metrics.items():
            if math.isfinite(value):
                self._recent.setdefault(name, deque(maxlen=MEAN_STEPS)).append(value)
        if now - self._logged >= self.log_every_s or self.done:
            self._log()
            self._logged = now
        stops = self.stops()  # once: the signal may come at any time
        if self.save_due(now) or self.done or stops:
            self.save()
        if self.done or stops:
            self.end()
        if stops:
            raise SystemExit(f"stopped after step {self.step}; the same command goes on from there")

    def save_due(self, now: float) -> bool:
        """Return whether a checkpoint should be written, by the clock."""
        return now - self._saved >= self.save_every_s

    def facts(self) -> dict[str, float]:
        """Return what else the log shows of this moment."""
        return {}

    def end(self) -> None:
        """Leave SIGTERM to others again: the run makes no more step."""
        if self._usual is not None:
            signal.signal(signal.SIGTERM, self._usual)

    def _log(self) -> None:
        shown_values = {
            name: values[-1] if name in EXACT else math.fsum(values) / len(values)
            for name, values in self._recent.items()
        }
        shown_values |= self.facts()
        row = {"step": self.step, "used_s": round(self.used_s, 1)}
        row.update({name: float(f"{value:.6g}") for name, value in shown_values.items()})
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")
        bar = "#" * int(24 * self.fraction)
        shown = "  ".join(f"{k} {v:.4g}" for k, v in shown_values.items())
        print(f"[{bar:<24}] {self.fraction:6.1%}  step {self.step}  {shown}", flush=True)
