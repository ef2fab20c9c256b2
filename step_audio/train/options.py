"""What every trainer's command line has in common."""

from __future__ import annotations

import argparse
import random

import torch

from step_audio.train.loop import pick_device


def run_options(
    description: str | None, *, minutes: float, learning_rate: float | None = None, seed: int = 1
) -> argparse.ArgumentParser:
    """Return a parser of where, how long and on what a run is; a trainer adds its own options.

    Args:
        description: its module's docstring.
        minutes: default of the budget.
        learning_rate: default of the peak; None: the trainer has no such option.
        seed: default.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", required=True, help="folder for checkpoint, log and export")
    parser.add_argument("--minutes", type=float, default=minutes, help="wall clock, all runs added")
    parser.add_argument("--steps", type=int, help="budget in steps instead")
    if learning_rate is not None:
        parser.add_argument("--learning-rate", type=float, default=learning_rate, help="its peak")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=seed)
    return parser


def prepare(args: argparse.Namespace) -> torch.device:
    """Set seeds and threads as `args` say; return the device."""
    torch.manual_seed(args.seed)
    random.seed(args.seed)
    torch.set_num_threads(args.threads)
    return pick_device(args.device)
