"""The one loop of fine-tuning: SFT and DPO differ in their objective alone.

Alone on two cores or sharded over a cluster (`torchrun ... -m step_audio train sft ...`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from step_audio.core.errors import InputError, StepAudioError
from step_audio.data.shards import TokenShards
from step_audio.engine.text import hash_of_text_tokenizer
from step_audio.train import memory, model
from step_audio.train.batches import BatchPlan, shares
from step_audio.train.checkpoints import Checkpoint, new_folder, provenance
from step_audio.train.evaluation import Evaluation, held_units, means
from step_audio.train.loop import Budget
from step_audio.train.lora import Lora
from step_audio.train.plans import planned
from step_audio.train.precision import bf16_gains
from step_audio.train.scoring import Scorer
from step_audio.train.sharded_run import ShardedRun
from step_audio.train.workers import TrainingProcesses, whole

EPOCH_STEPS: Final = 50
"""Of a suggested batch: so many steps make an epoch of a set that is not tiny."""


class Diverged(StepAudioError):
    """A gradient is not finite; the step was not made, and the last checkpoint is sound."""

    code = "training_diverged"

    def __init__(self, step: int) -> None:
        super().__init__(
            f"the gradient of step {step} is not finite; begin again, in another --out, with a"
            " smaller --learning-rate, more --warm-steps or --no-bf16"
        )
        self.step = step


@dataclass(frozen=True, slots=True)
class Recipe:
    """How long and how hard.

    Attributes:
        epochs: passes over the data; `steps` overrides them.
        batch_tokens: padded ids of one step, over all workers; None: `suggested_batch`.
        micro_tokens: padded ids that one worker computes at a time.
        max_length: longer sequences are left out.
        learning_rate: its peak; linear warm-up, plateau for the share `hold`, linear fall.
        warm_steps: of the warm-up; None: 100, or a tenth of a run that is shorter than 1000.
        bf16: compute in bfloat16; None: where the device multiplies it faster than float32.
        save_every, save_minutes: a checkpoint comes when either has passed.
        eval_share: of the units is held out and measured (`Evaluation`); 0 for none.
        eval_every: steps between two measurements; None: a tenth of the run.
        patience: measurements without a better one that end the run; None: never.
    """

    epochs: float = 1.0
    steps: int | None = None
    batch_tokens: int | None = None
    micro_tokens: int = 8192
    max_length: int = 8192
    learning_rate: float = 2e-5
    warm_steps: int | None = None
    hold: float = 0.5
    weight_decay: float = 0.0
    clip: float = 1.0
    seed: int = 0
    save_every: int = 500
    save_minutes: float = 10.0
    eval_share: float = 0.0
    eval_every: int | None = None
    patience: int | None = None
    bf16: bool | None = None
    recompute: bool = False
    lora: Lora | None = None


class Objective(Protocol):
    """What is minimised, over units (sequences, or pairs)."""

    @property
    def rows(self) -> int:
        """Sequences of one unit."""

    def lengths(self) -> NDArray[np.int64]:
        """Padded ids that each unit costs, (U,); 0 leaves it out."""

    def prepare(
        self, scorer: Scorer, out: Path, workers: TrainingProcesses, micro_tokens: int
    ) -> None:
        """Compute once what the untouched model says; called before the first step."""

    def weight(self, units: Sequence[int]) -> float:
        """Return what the units count for in the mean of a step."""

    def loss(
        self, scorer: Scorer, units: Sequence[int], device: torch.device
    ) -> tuple[Tensor, dict[str, float]]:
        """Return the summed loss of some units, and sums to report; `count_x` divides `x`."""


def finetune(
    objective: Objective,
    shards: TokenShards,
    source: Checkpoint,
    out: Path,
    recipe: Recipe,
    *,
    workers: TrainingProcesses,
    facts: Mapping[str, Any],
    report_to: Sequence[str] = (),
) -> ShardedRun:
    """Train to the end, going on where a checkpoint is; write the result to `out`/export.

    Args:
        facts: of the objective; kept in the plan and in `training.json`.
        report_to: trackers beside TensorBoard, by accelerate's names: wandb, mlflow, ...

    Raises:
        InputError: the data does not fit the model, memory will not do, or `out` holds another
            run; all before the first step.
        Diverged: a gradient was not finite.
    """
    new_folder(out, source.folder)
    lengths = _fitting(objective, shards, source, recipe)
    held = held_units(lengths, recipe.eval_share, recipe.seed)
    learned = lengths.copy()
    learned[held] = 0
    batch_tokens = recipe.batch_tokens or suggested_batch(learned)
    plan = BatchPlan(learned, batch_tokens, recipe.seed)
    steps = recipe.steps
    if steps is None:
        steps = max(1, round(plan.steps_per_epoch * recipe.epochs))
    recipe = _settled(replace(recipe, batch_tokens=batch_tokens), steps, out, workers)
    if workers.leads:
        print(_summary(lengths, steps, recipe, objective.rows, len(held)), flush=True)
    _check_memory(lengths, source, recipe, workers, objective.rows)
    torch.manual_seed(recipe.seed)
    scorer = model.build(
        source, workers, bf16=bool(recipe.bf16), lora=recipe.lora, recompute=recipe.recompute
    )
    scorer.train()
    parameters = [p for p in scorer.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=recipe.weight_decay
    )
    identity = {"data": shards.sha256, "from": provenance(source.folder), "steps": steps}
    fixed = {**asdict(recipe), **facts, **identity}
    for name in ("save_every", "save_minutes", "patience"):
        fixed.pop(name)
    run = ShardedRun(
        out,
        {"model": scorer},
        optimizer,
        Budget(steps=steps),
        workers=workers,
        save_every=recipe.save_every,
        save_minutes=recipe.save_minutes,
        report_to=report_to,
        plan=fixed,
    )
    judged = Evaluation(
        out,
        objective,
        held,
        every=recipe.eval_every or 1,
        steps=steps,
        patience=recipe.patience,
    )
    # First of all: what is prepared belongs to this plan.
    run.begin()
    objective.prepare(scorer, out, workers, recipe.micro_tokens)
    if run.resume() and workers.leads:
        print(f"resumed at step {run.step} of {steps}", flush=True)
    judged.resume(run.step, workers)

    def save(folder: Path) -> None:
        facts_now = {**fixed, "step": run.step}
        model.save(scorer, source, folder, workers, facts=facts_now, lora=recipe.lora)

    while True:
        if judged.due(run.step):
            found = judged.measure(scorer, run.step, workers, recipe.micro_tokens, save)
            run.evaluated(found)
        if run.done or judged.over:
            break
        _step(objective, plan, scorer, optimizer, run, recipe=recipe, workers=workers)
    if not run.done:
        run.save()
        run.end()
    run.close()
    save(out / "export")
    if workers.leads and judged.summary():
        print(judged.summary(), flush=True)
    return run


def _fitting(
    objective: Objective, shards: TokenShards, source: Checkpoint, recipe: Recipe
) -> NDArray[np.int64]:
    """Return what each unit costs. Raises InputError: the data does not fit the model."""
    if shards.vocab.size > source.config.vocab_size:
        raise InputError(
            f"{shards.folder} has {shards.vocab.size} ids, the model {source.config.vocab_size}"
        )
    own = hash_of_text_tokenizer(source.folder)
    if shards.text_tokenizer and own and shards.text_tokenizer != own:
        raise InputError(
            f"{shards.folder} was packed with another text tokenizer than that of {source.folder},"
            " to which its ids mean nothing; pack again with --profile of that model"
        )
    lengths = objective.lengths()
    if not lengths.any():
        raise InputError(
            f"no sequence of {shards.folder} has at most {recipe.max_length} ids, the shortest has"
            f" {shards.lengths.min()}; raise --max-length"
        )
    return lengths


def suggested_batch(lengths: NDArray[np.int64]) -> int:
    """Return a size of steps that fits a set: an epoch has about `EPOCH_STEPS` of them.

    Between 4,096 ids, or the longest unit, and 262,144, as much as a cluster likes.
    """
    least = max(4096, int(lengths.max()))
    return int(min(max(262_144, least), max(least, int(lengths.sum()) // EPOCH_STEPS)))


def _settled(recipe: Recipe, steps: int, out: Path, workers: TrainingProcesses) -> Recipe:
    """Return the recipe with nothing left open, the same on every worker and in every part of a
    run: what a measurement decided once is read from the plan when the run goes on."""
    bf16 = recipe.bf16
    if bf16 is None:
        mine = None
        if workers.leads:
            mine = planned(out).get("bf16")
            mine = bf16_gains(workers.device.type) if mine is None else mine
        bf16 = bool(workers.gather(mine)[0])
    warm = recipe.warm_steps
    return replace(
        recipe,
        bf16=bf16,
        warm_steps=min(100, max(1, steps // 10)) if warm is None else warm,
        eval_every=recipe.eval_every or max(1, steps // 10),
    )


def _summary(lengths: NDArray[np.int64], steps: int, recipe: Recipe, rows: int, held: int) -> str:
    """Return what will be done, and what is left out, in a line."""
    what = "pairs" if rows == 2 else "sequences"
    used, left = int((lengths > 0).sum()), int((lengths == 0).sum())
    said = f"{used} of {len(lengths)} {what}, {lengths.sum()} ids; {steps} steps"
    said += f" of at most {recipe.batch_tokens} ids"
    if held:
        said += f"; {held} held out, measured every {recipe.eval_every} steps"
    if left:
        said += f"; {left} are longer than {recipe.max_length} ids and left out"
    return f"{said}; {'bfloat16' if recipe.bf16 else 'float32'}"


def _step(
    objective: Objective,
    plan: BatchPlan,
    scorer: Scorer,
    optimizer: torch.optim.Optimizer,
    run: ShardedRun,
    *,
    recipe: Recipe,
    workers: TrainingProcesses,
) -> None:
    run.set_learning_rate(recipe.learning_rate, recipe.warm_steps or 1, recipe.hold)
    batch = plan.batch(run.step)
    run.count_ids(int(plan.lengths[batch].sum()))
    runs = shares(batch, plan.lengths, recipe.micro_tokens, workers.count)[workers.rank]
    (total,) = workers.total([sum(objective.weight(units) for units in runs)])
    sums: dict[str, float] = {}
    for units in runs:
        loss, parts = objective.loss(scorer, units, workers.device)
        # Sharded gradients are averaged over the workers; the mean is over all units.
        torch.autograd.backward(loss * (workers.count / max(total, 1e-9)))
        for name, value in {"loss": float(loss.detach()), **parts}.items():
            sums[name] = sums.get(name, 0.0) + value
    norm = float(whole(nn.utils.clip_grad_norm_(list(scorer.parameters()), recipe.clip)))
    # One such step would fill the weights with NaN, and soon every checkpoint that is kept.
    if not math.isfinite(norm):
        raise Diverged(run.step)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    metrics = means(sums, total, workers)
    metrics["gradient_norm"] = norm
    metrics["learning_rate"] = float(optimizer.param_groups[0]["lr"])
    run.record(metrics)


def _check_memory(
    lengths: NDArray[np.int64],
    source: Checkpoint,
    recipe: Recipe,
    workers: TrainingProcesses,
    rows: int,
) -> None:
    longest = int(lengths.max()) // rows
    need = memory.reckon(
        source.config,
        rows=max(rows, recipe.micro_tokens // longest),
        length=longest,
        workers=workers.count,
        bf16=bool(recipe.bf16),
        lora=recipe.lora,
        recompute=recipe.recompute,
        written_scores=workers.device.type == "cpu",
    )
    local = workers.count if workers.device.type == "cpu" else 1
    has = memory.available(workers.device, local)
    memory.check(
        need,
        has,
        lora=recipe.lora is not None,
        recompute=recipe.recompute,
        workers=workers.count,
    )
    # Nobody allocates before all have looked.
    workers.wait()
