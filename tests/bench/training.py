"""Full-weight SFT by our loop and by `transformers.Trainer`, same model, pack and batch.

Ids a second (of wall clock, and of processor time, which others on the machine disturb less) with a
checkpoint at the end alone and with one every four steps, memory beyond the imports, two processes
against one, and whether a run that is killed (SIGKILL) at three points gives the losses of one that
is not. The second point is a step that is saved, so that the run is likely to die while it writes;
where it cannot go on from what it wrote (`went_on`), the unfinished checkpoint is deleted by hand.
Lines of code are those of our modules, and of the function `by_trainer` below with the collator.

Run: python -m tests.bench.training [--steps 24] [--width 128]. Each line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import socket
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch.utils.data import Dataset
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

from step_audio.core.json_lines import RowWriter, read_rows
from step_audio.data.shards import TokenShards
from step_audio.engine.step1 import Step1, Step1Config
from step_audio.engine.weights import save_step1
from step_audio.hf.collators import SequenceCollator
from step_audio.train import workers
from step_audio.train.checkpoints import Checkpoint
from step_audio.train.finetune import Recipe, finetune
from step_audio.train.sft import Sft
from tests.train.tiny_training import VOCAB, write_pack

ROOT: Final = Path(__file__).parents[2] / "step_audio"
OURS: Final = (
    *("batches", "checkpoints", "evaluation", "finetune", "loop", "model", "plans", "precision"),
    *("scoring", "sft", "sharded_run", "workers"),
)
"""Modules of `step_audio.train` that a run of SFT goes through."""
SAVE_EVERY: Final = 4
ROWS: Final = 8
LENGTH: Final = 64


@dataclass(frozen=True, slots=True)
class Job:
    """One run: what it starts from, where it goes, how long it is."""

    base: Path
    pack: Path
    out: Path
    steps: int
    save_every: int


def by_ours(job: Job) -> None:
    """Train with the loop of this project."""
    recipe = Recipe(
        steps=job.steps,
        batch_tokens=ROWS * LENGTH,
        micro_tokens=ROWS * LENGTH,
        max_length=LENGTH,
        learning_rate=1e-3,
        save_every=job.save_every,
        bf16=False,
    )
    shards = TokenShards(job.pack)
    with workers.start("cpu") as here:
        objective = Sft(shards, LENGTH)
        finetune(objective, shards, Checkpoint(job.base), job.out, recipe, workers=here, facts={})


class Rows(Dataset[Any]):
    """A pack as a data set of torch."""

    def __init__(self, shards: TokenShards) -> None:
        self._shards = shards

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, index: int) -> Any:
        return self._shards[index]


class Losses(TrainerCallback):  # type: ignore[misc] # the library has no types
    """Writes the loss of every step, as our loop does."""

    def __init__(self, out: Path) -> None:
        self._path = out / "steps.jsonl"

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" in (logs or {}) and state.is_world_process_zero:
            with RowWriter(self._path) as rows:
                rows.add({"step": state.global_step, "loss": float(logs["loss"])})


def by_trainer(job: Job) -> None:
    """Train with the library's trainer, from its newest checkpoint where there is one."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    recipe = TrainingArguments(
        str(job.out),
        max_steps=job.steps,
        per_device_train_batch_size=ROWS // count,
        learning_rate=1e-3,
        save_steps=job.save_every,
        save_total_limit=2,
        logging_steps=1,
        use_cpu=True,
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
    )
    model = AutoModelForCausalLM.from_pretrained(job.base)
    rows = Rows(TokenShards(job.pack))
    trainer = Trainer(model, recipe, SequenceCollator(), rows, callbacks=[Losses(job.out)])
    saved = any(job.out.glob("checkpoint-*/trainer_state.json"))
    trainer.train(resume_from_checkpoint=saved or None)


WAYS: Final[dict[str, Callable[[Job], None]]] = {"ours": by_ours, "trainer": by_trainer}


def child(way: str, job: Job, rank: int = 0, count: int = 1, port: int = 0) -> int:
    """Run in a process of its own, which has the imports already; return its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        if count > 1:
            names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_PORT": port}
            os.environ.update({name: str(value) for name, value in names.items()})
            os.environ.update(MASTER_ADDR="127.0.0.1", TORCHELASTIC_RUN_ID="bench")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        before, started = _memory(), time.monotonic()
        WAYS[way](job)
        used = resource.getrusage(resource.RUSAGE_SELF)
        figures = {
            "wall_s": time.monotonic() - started,
            "processor_s": used.ru_utime + used.ru_stime,
            "bytes": _memory() - before,
        }
        (job.out / f"figures-{rank}.json").write_text(json.dumps(figures), encoding="utf-8")
        code = 0
    except Exception:  # the fork must end here, whatever it was
        traceback.print_exc()
    finally:
        os._exit(code)


def _memory() -> int:
    """Return the most memory that this process has had, in bytes; the fork begins with its own."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(x.split()[1]) for x in text.splitlines() if x.startswith("VmHWM")) * 1024


def finished(*pids: int) -> None:
    """Wait for processes. Ends the benchmark when one failed."""
    if not all(list(map(succeeded, pids))):  # each is waited for
        raise SystemExit("a run failed")


def succeeded(pid: int) -> bool:
    """Wait for a process; say whether it ended well."""
    return os.waitpid(pid, 0)[1] == 0


def losses(out: Path) -> dict[int, float]:
    """Return the loss of each step, the last one written of each."""
    return {row["step"]: row["loss"] for row in read_rows(out / "steps.jsonl")}


def killed(way: str, job: Job, at: int) -> bool:
    """Kill a run when it has made a step, and let it go on to its end.

    Returns:
        Whether it went on by itself; if not, the newest checkpoint was deleted.
    """
    pid = child(way, job)
    while max(losses(job.out), default=0) < at:
        done, _ = os.waitpid(pid, os.WNOHANG)
        if done:
            raise SystemExit(f"the run ended before step {at}")
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    if succeeded(child(way, job)):
        return True
    shutil.rmtree(max(job.out.glob("checkpoint-*"), key=lambda x: int(x.name.split("-")[1])))
    finished(child(way, job))
    return False


def measured(way: str, job: Job, count: int) -> dict[str, float]:
    """Return what a run of some processes took; ids are padded ones of its batches."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    job.out.mkdir(parents=True, exist_ok=True)
    finished(*(child(way, job, rank, count, port) for rank in range(count)))
    each = [json.loads((job.out / f"figures-{n}.json").read_text()) for n in range(count)]
    ids = job.steps * ROWS * LENGTH
    return {
        "processes": count,
        "save_every": job.save_every,
        "ids_s": ids / max(row["wall_s"] for row in each),
        "ids_processor_s": ids / sum(row["processor_s"] for row in each),
        "memory_mb": max(row["bytes"] for row in each) / 1e6,
    }


def lines(way: str) -> int:
    """Return lines of code that are ours to keep, comments and empty ones left out."""
    if way == "ours":
        texts = [(ROOT / "train" / f"{name}.py").read_text("utf-8") for name in OURS]
    else:
        own = Path(__file__).read_text("utf-8")
        start = own.index("class Rows")
        texts = [own[start : own.index("WAYS:")], (ROOT / "hf/collators.py").read_text("utf-8")]
    kept = (line.strip() for text in texts for line in text.splitlines())
    return sum(bool(line) and not line.startswith("#") for line in kept)


def write_base(folder: Path, width: int) -> Path:
    """Write a random model."""
    config = Step1Config(width, 2 * width, 4, 2, 4, VOCAB.size, max_seq_len=LENGTH)
    model = Step1(config)
    model.initialize(torch.Generator().manual_seed(0))
    save_step1(folder, config, model.state_dict())
    return folder


def main() -> None:
    """Measure both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--width", type=int, default=128)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        base, pack = write_base(root / "base", args.width), write_pack(root / "pack", 200)
        for way in WAYS:
            row: dict[str, Any] = {"bench": "training.sft", "way": way, "lines": lines(way)}
            for count in (1, 2):
                for every in (args.steps, SAVE_EVERY):
                    job = Job(base, pack, root / f"{way}-{count}-{every}", args.steps, every)
                    print(json.dumps(row | measured(way, job, count)), flush=True)
            whole = losses(root / f"{way}-1-{args.steps}")
            points = (2, args.steps // 2, args.steps - 2)
            for at in points:
                job = Job(base, pack, root / f"{way}-killed-{at}", args.steps, SAVE_EVERY)
                job.out.mkdir()
                went_on = killed(way, job, at)
                again = losses(job.out)
                apart = max(abs(again[step] - loss) for step, loss in whole.items())
                equal = {"equal": again == whole, "largest_difference": apart}
                facts = {"killed_at": at, "went_on": went_on, **equal}
                print(json.dumps({**row, **facts}), flush=True)


if __name__ == "__main__":
    main()
