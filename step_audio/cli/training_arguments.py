"""The arguments of `train`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from step_audio.cli import reinforcement, training
from step_audio.cli.data_arguments import Add, positive
from step_audio.cli.recipes import add_recipe
from step_audio.cli.reinforcement import add_grpo, add_score


def add_training(add: Callable[[str, str], Add]) -> None:
    """Add the command and its kinds; `add` opens a group of commands."""
    kind = add("train", "Train on token shards; start it by torchrun for several processes.")
    command = kind("sft", training.sft, "Fine-tune on the sequences of a pack.")
    _run(command, learning_rate=2e-5)
    command.add_argument("--text-weight", type=float, default=1.0, help="of a text id's loss")
    add_recipe(command)
    command = kind("dpo", training.dpo, "Prefer the better answers of a pack of pairs.")
    _run(command, learning_rate=5e-7)
    command.add_argument(
        "--loss",
        choices=("dpo", "chi-po", "refuel"),
        default="dpo",
        help="refuel takes pairs of reject --turns all",
    )
    command.add_argument("--beta", type=float, default=0.1, help="small lets the model move far")
    command.add_argument(
        "--reward-range", type=float, default=1.0, help="of chi-po's clip, which is at twice this"
    )
    command.add_argument(
        "--sft-weight", type=float, default=0.0, help="of the better answer's loss"
    )
    command.add_argument(
        "--mask-audio",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="leave audio ids out of the loss; with them it garbles speech",
    )
    add_recipe(command)
    _reject(kind("reject", training.reject, "Sample answers; the judge picks best and worst."))
    add_grpo(
        kind("grpo", reinforcement.grpo, "Learn from rewards of the model's own answers (TRL).")
    )
    add_score(kind("score", reinforcement.score, "Score checkpoints by rewards, with intervals."))
    command = kind("merge", training.merge, "Write the weighted mean of checkpoints.")
    command.add_argument(
        "--parent", action="append", default=[], metavar="FOLDER=WEIGHT", help="any number of them"
    )
    command.add_argument("--out", type=Path, required=True)
    command = kind("merge-lora", training.merge_lora, "Add adapters into their checkpoint.")
    command.add_argument("--from", dest="source", type=Path, required=True, help="checkpoint")
    command.add_argument("--adapter", type=Path, required=True, help="export of a run with --lora")
    command.add_argument("--out", type=Path, required=True)
    command = kind("install", training.install, "Make a profile of what a run trained.")
    command.add_argument(
        "run_folder", type=Path, metavar="RUN", help="a run, an export, a merge or adapters"
    )
    command.add_argument("--profile", type=Path, required=True, help="file to write")
    command.add_argument("--base", default="nano", help="profile that gives all other parts")
    command.add_argument("--best", action="store_true", help="the lowest evaluation loss's weights")
    _ablation(kind("ablation", training.ablation, "Train and measure one variant of nano."))


def _ablation(command: argparse.ArgumentParser) -> None:
    command.add_argument("row", help="a row (any wrong name lists them), or table")
    command.add_argument("--data", type=Path, help="folder of step_audio.nano.training.lm_data")
    command.add_argument("--from", dest="source", type=Path, help="checkpoint all rows start from")
    command.add_argument("--out", type=Path, required=True, help="folder of all rows")
    command.add_argument("--steps", type=positive, default=2000, help="of every training")
    command.add_argument("--sequences", type=positive, default=20_000, help="of every pack")
    command.add_argument("--batch-tokens", type=positive, default=4096)
    command.add_argument("--learning-rate", type=float, default=3e-4)
    command.add_argument("--threads", type=positive, default=1)
    command.add_argument("--note", default="", help="a line below the table")


def _run(command: argparse.ArgumentParser, *, learning_rate: float) -> None:
    command.set_defaults(objective=command.prog.rsplit(maxsplit=1)[-1])
    command.add_argument(
        "--from", dest="source", type=Path, required=True, help="checkpoint, published layout"
    )
    command.add_argument("--data", type=Path, required=True, help="folder of shards")
    command.add_argument("--out", type=Path, required=True, help="folder of the run")
    command.add_argument("--epochs", type=float, default=1.0)
    command.add_argument("--steps", type=positive, help="instead of --epochs")
    command.add_argument(
        "--batch-tokens", type=positive, help="of a step, all workers; else fitted to the set"
    )
    command.add_argument("--micro-tokens", type=positive, default=8192, help="that a worker holds")
    command.add_argument(
        "--max-length", type=positive, default=8192, help="longer ones are left out"
    )
    command.add_argument("--learning-rate", type=float, default=learning_rate)
    command.add_argument("--warm-steps", type=positive, help="100, or a tenth of a short run")
    command.add_argument("--weight-decay", type=float, default=0.0)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--save-every", type=positive, default=500, help="steps")
    command.add_argument("--save-minutes", type=float, default=10.0, help="if sooner")
    command.add_argument(
        "--eval-share", type=float, default=0.02, help="of the pack is measured, not learned from"
    )
    command.add_argument("--eval-every", type=positive, help="steps; a tenth of the run")
    command.add_argument(
        "--patience", type=positive, help="measurements without a better one that end the run"
    )
    command.add_argument(
        "--report-to", default="", help="trackers beside TensorBoard, such as wandb or mlflow"
    )
    command.add_argument("--lora", type=positive, metavar="RANK", help="train adapters only")
    command.add_argument("--lora-alpha", type=float, help="twice the rank by default")
    command.add_argument(
        "--recompute",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="gradient checkpointing",
    )
    command.add_argument(
        "--bf16",
        action=argparse.BooleanOptionalAction,
        help="compute in bfloat16; where the device gains by it if nothing is said",
    )
    command.add_argument("--device", default="auto")
    command.add_argument("--threads", type=positive, help="CPU threads of a process")


def _reject(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, help="data set whose questions are asked")
    command.add_argument("--out", type=Path, required=True, help="gets best/ and pairs/")
    command.add_argument("--profile", default="nano", help="the model that is to improve")
    command.add_argument("--tasks", default="AQAA", help="samples to ask, with commas")
    command.add_argument("--questions", type=positive, default=1000)
    command.add_argument(
        "--turns",
        choices=("first", "all"),
        default="first",
        help="all: candidates part at a drawn turn and are judged by the rest of the conversation",
    )
    command.add_argument("--candidates", type=positive, default=8, help="answers to a question")
    command.add_argument("--temperature", type=float, default=0.9)
    command.add_argument("--recogniser", choices=("domain", "open", "none"), default="open")
    command.add_argument("--least", type=float, default=0.9, help="score of a best answer")
    command.add_argument("--gap", type=float, default=0.3, help="between best and worst of a pair")
