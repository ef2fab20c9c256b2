"""A `TrainingRun` over many processes: sharded checkpoints by step, TensorBoard, exact resumption.

Checkpoints are PyTorch's distributed ones, so a run may go on with another number of processes.
Processes agree on when to save and stop after every step.
"""

from __future__ import annotations

import json
import math
import re
import resource
import shutil
import sys
import time
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_state_dict,
)

from step_audio.core.errors import InputError
from step_audio.core.json_files import read_object
from step_audio.train.loop import MEAN_STEPS, TrainingRun
from step_audio.train.plans import check_plan, keep_plan
from step_audio.train.workers import TrainingProcesses

KEPT: Final = 2
_FOLDER: Final = re.compile(r"checkpoint-(\d{8})")
_OPTIONS: Final = StateDictOptions(ignore_frozen_params=True, strict=False)


@dataclass
class ShardedRun(TrainingRun):
    """Clock, checkpoints and log of a run whose one module is called "model".

    Attributes:
        workers: who takes part; the first one writes the log.
        save_every: steps between checkpoints.
        save_minutes: minutes between them, if that is sooner.
        report_to: trackers beside TensorBoard, by accelerate's names.
        plan: what must be the same when the run goes on, such as the data's hash.
    """

    workers: TrainingProcesses | None = None
    save_every: int = 500
    save_minutes: float = 10.0
    report_to: Sequence[str] = ()
    plan: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._board: Any = None
        self._trackers: list[Any] | None = None
        self._timed = False
        self._ids = 0
        self._times: deque[tuple[float, int]] = deque([(time.monotonic(), 0)], MEAN_STEPS + 1)
        self._per_step = self.out / "steps.jsonl"

    @property
    def leads(self) -> bool:
        return self.workers is None or self.workers.leads

    def begin(self) -> None:
        """Note the plan, before anything of the run is written.

        Raises:
            InputError: the folder holds a run of another plan.
        """
        begun = check_plan(self.out, self.plan or {})
        # Nobody writes before all have looked.
        self._wait()
        if self.leads and not begun:
            keep_plan(self.out, self.plan or {})

    def resume(self) -> bool:
        """Load the newest checkpoint if there is one; True when it was.

        Raises:
            InputError: it belongs to a run of another plan.
        """
        self.begin()
        found = self._found()
        if not found:
            return False
        self.step, folder = found[-1]
        model, optimizer = self.modules["model"], self._torch_optimizer
        model_state, optimizer_state = get_state_dict(model, optimizer, options=_OPTIONS)
        state: dict[str, Any] = {"model": model_state, "optimizer": optimizer_state}
        with _quiet():
            state_dict_loader.load(state, checkpoint_id=folder, no_dist=self._alone)
        set_state_dict(
            model,
            optimizer,
            model_state_dict=state["model"],
            optim_state_dict=state["optimizer"],
            options=_OPTIONS,
        )
        self.used_s = float(read_object(folder / "run.json")["used_s"])
        if self.leads:
            self._forget_later_steps()
        return True

    def save(self) -> None:
        """Write a checkpoint of this step; a cut-off leaves the previous one whole."""
        folder = self.out / f"checkpoint-{self.step:08d}"
        part = self.out / "checkpoint.part"
        if self.leads:
            shutil.rmtree(part, ignore_errors=True)
        self._wait()
        model, optimizer = get_state_dict(
            self.modules["model"], self._torch_optimizer, options=_OPTIONS
        )
        state: dict[str, Any] = {"model": model, "optimizer": optimizer}
        with _quiet():
            state_dict_saver.save(state, checkpoint_id=part, no_dist=self._alone)
        self._wait()
        if self.leads:
            (part / "run.json").write_text(json.dumps({"used_s": self.used_s}))
            shutil.rmtree(folder, ignore_errors=True)
            part.rename(folder)
            for _, old in self._found()[:-KEPT]:
                shutil.rmtree(old)
        self._wait()
        self._saved = time.monotonic()

    def save_due(self, now: float) -> bool:
        """Return whether a checkpoint is due, by steps or by the first process's clock."""
        return self.step % self.save_every == 0 or self._timed

    def stops(self) -> bool:
        """Return whether any process was told to stop: a checkpoint needs all of them at once.

        Whether time for one has come is agreed on in the same exchange.
        """
        late = self.leads and time.monotonic() - self._saved >= 60 * self.save_minutes
        asked = [float(super().stops()), float(late)]
        told, timed = asked if self.workers is None else self.workers.total(asked)
        self._timed = timed > 0
        return told > 0

    def count_ids(self, count: int) -> None:
        """Note the padded ids of the step that is made, over all processes."""
        self._ids += count

    def facts(self) -> dict[str, float]:
        """Return ids a second, memory of this process and minutes left, over the last steps."""
        (first, before), (last, now) = self._times[0], self._times[-1]
        passed, steps = last - first, len(self._times) - 1
        if not steps or passed <= 0:
            return {}
        left = (self.budget.steps or self.step) - self.step
        return {
            "ids_per_s": round((now - before) / passed, 1),
            "memory_gb": round(peak_memory_gb(), 2),
            "minutes_left": round(left * passed / steps / 60, 1),
        }

    def evaluated(self, metrics: Mapping[str, float]) -> None:
        """Show and report figures of held-out units at this step."""
        if not self.leads:
            return
        shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        print(f"held out, step {self.step}:  {shown}", flush=True)
        self._report({f"eval/{name}": value for name, value in metrics.items()})
        self._times[-1] = (time.monotonic(), self._times[-1][1])

    def _report(self, metrics: Mapping[str, float]) -> None:
        if self._board is None:
            self._board = _board(self.out / "tensorboard", self.step)
        if self._trackers is None:
            self._trackers = trackers(self.report_to, self.out, self.plan or {})
        for name, value in metrics.items():
            self._board.add_scalar(name, value, self.step)
        for tracker in self._trackers:
            tracker.log(dict(metrics), step=self.step)

    def record(self, metrics: Mapping[str, float]) -> None:
        """Note one step's exact values for `steps.jsonl` and TensorBoard, then count it."""
        if self.leads:
            row = {"step": self.step, **metrics}
            with self._per_step.open("a", encoding="utf-8") as log:
                log.write(json.dumps(row) + "\n")
            self._report(metrics)
        self._times.append((time.monotonic(), self._ids))
        if len(self._times) == 2:
            self._logged = -math.inf  # a first step may take long; it says that all goes well
        self.advance(metrics)

    def close(self) -> None:
        """Flush TensorBoard and end the trackers."""
        if self._board is not None:
            self._board.close()
        for tracker in self._trackers or ():
            tracker.finish()

    def _log(self) -> None:
        if self.leads:
            super()._log()

    @property
    def _alone(self) -> bool:
        return self.workers is None or self.workers.count == 1

    @property
    def _torch_optimizer(self) -> Any:
        return self.optimizer

    def _found(self) -> list[tuple[int, Path]]:
        named = ((_FOLDER.fullmatch(path.name), path) for path in self.out.iterdir())
        return sorted((int(match[1]), path) for match, path in named if match)

    def _forget_later_steps(self) -> None:
        """Drop what a cut-off run logged after its last checkpoint."""
        if self._per_step.is_file():
            rows = self._per_step.read_text(encoding="utf-8").splitlines()
            kept = [
                row for row in rows if row.endswith("}") and json.loads(row)["step"] < self.step
            ]
            self._per_step.write_text("".join(row + "\n" for row in kept), encoding="utf-8")

    def _wait(self) -> None:
        if self.workers is not None:
            self.workers.wait()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep PyTorch from warning a single process of being one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def peak_memory_gb() -> float:
    """Return the most memory that this process had so far: of its GPU, or of the machine."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def trackers(names: Sequence[str], out: Path, plan: Mapping[str, Any]) -> list[Any]:
    """Return accelerate's trackers (wandb, mlflow, comet_ml, clearml, ...), started.

    Raises:
        InputError: no such tracker, or its package is missing.
    """
    if not names:
        return []
    from accelerate import PartialState  # noqa: PLC0415 - optional
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers  # noqa: PLC0415

    PartialState()
    known = {str(name): made for name, made in LOGGER_TYPE_TO_CLASS.items()}
    there = {str(name) for name in get_available_trackers()}
    started = []
    for name in names:
        if name not in known:
            raise InputError(f"no tracker {name!r}; known: {', '.join(sorted(known))}")
        if name not in there:
            raise InputError(f"the tracker {name} needs its package: pip install {name}")
        made = known[name]
        where = {"logging_dir": str(out)} if made.requires_logging_directory else {}
        tracker = made(out.resolve().name, **where)
        if hasattr(tracker, "start"):
            tracker.start()
        flat = {key: value for key, value in plan.items() if isinstance(value, int | float | str)}
        tracker.store_init_configuration(flat)
        started.append(tracker)
    return started


class _Silent:
    """Stands in where the package tensorboard is not installed."""

    def add_scalar(self, name: str, value: float, step: int) -> None: ...
    def close(self) -> None: ...


def _board(folder: Path, step: int) -> Any:
    """Return what draws curves from `step` on; later points of a run that was cut off go away."""
    if find_spec("tensorboard") is None:
        return _Silent()
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - slow, optional

    return SummaryWriter(str(folder), purge_step=step)
