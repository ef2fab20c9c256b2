"""`data loop`: speak, gate, train, speak again with the new model; the paper's iterating engine.

FOLDER/rounds.jsonl        one row a round; 0 is the model that was given
FOLDER/round-N/set         what the model of the round before said of new texts, judged
FOLDER/round-N/pack, run   what passed as shards, and the training on it
FOLDER/round-N/model.yaml  the profile of the new model
FOLDER/round-N/held        what it says of the grammar's held-out half

Every step is another command of this program, printed as it is run, so that a round can be done or
gone on with by hand. A round that has its row is not done again.
Source: Step-Audio report, arXiv:2502.11946 (its generative data engine).
"""

from __future__ import annotations

import argparse
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from step_audio.cli.parts import Load
from step_audio.core.config import load_profile
from step_audio.core.errors import InputError
from step_audio.core.json_lines import RowWriter, read_rows
from step_audio.core.profile import LocalEngineSection, VllmEngineSection

ROUNDS: Final = "rounds.jsonl"
_HELD_SEED: Final = 1_000_003
"""Of the held-out texts: the same in every round."""


def loop(args: argparse.Namespace, load: Load) -> int:
    """Do the rounds that are not done yet, and print a table of all."""
    rounds = _Rounds(args, load)
    done = {row["round"]: row for row in read_rows(args.folder / ROUNDS)}
    for number in range(args.rounds + 1):
        if number not in done:
            row = rounds.do(number)
            args.folder.mkdir(parents=True, exist_ok=True)
            with RowWriter(args.folder / ROUNDS) as rows:
                rows.add(row)
            done[number] = row
    print(table([done[number] for number in sorted(done)]))
    return 0


class _Rounds:
    """Composes the commands of a round."""

    def __init__(self, args: argparse.Namespace, load: Load) -> None:
        self._args, self._load = args, load
        self._more = {
            step: shlex.split(getattr(args, step)) for step in ("write", "speak", "filter", "train")
        }

    def do(self, number: int) -> dict[str, Any]:
        """Do a round; 0 is the given model, which only reads what is held out."""
        folder = self._args.folder / f"round-{number}"
        row: dict[str, Any] = {"round": number}
        if number:
            row |= self._train(folder, self.profile(number - 1), number)
        held = folder / "held"
        self._write(held, self._args.held, _HELD_SEED, "--tasks", "TTS", "--half", "held")
        self._speak_and_judge(held, self.profile(number))
        return {**row, "held": outcome(held)}

    def profile(self, number: int) -> str:
        """Return the profile of the model after a round."""
        if not number:
            return str(self._args.profile)
        return str(self._args.folder / f"round-{number}" / "model.yaml")

    def _train(self, folder: Path, profile: str, number: int) -> dict[str, Any]:
        args, set_, pack, run = self._args, folder / "set", folder / "pack", folder / "run"
        new = Path(self.profile(number))
        more = ["--tasks", args.tasks, *self._more["write"]]
        self._write(set_, args.count, args.seed + number, *more)
        self._speak_and_judge(set_, profile)
        judged = outcome(set_)
        if not judged["accepted"]:
            raise InputError(
                f"the gates accept nothing of {set_}; data report shows why, --filter changes them"
            )
        quality = ["--quality", args.quality]
        self._run("data", "pack", set_, "-o", pack, "--profile", profile, *quality)
        lm = language_model(profile)
        where = ["--from", lm, "--data", pack, "--out", run]
        self._run("train", "sft", *where, *self._more["train"])
        # A round that was cut off while it installed begins that anew.
        new.unlink(missing_ok=True)
        shutil.rmtree(new.with_suffix(""), ignore_errors=True)
        self._run("train", "install", run, "--profile", new, "--base", profile)
        return {"model": str(new), "said": judged}

    def _write(self, set_: Path, count: int, seed: int, *more: str) -> None:
        self._run("data", "write", set_, "--count", count, "--seed", seed, *more)

    def _speak_and_judge(self, set_: Path, profile: str) -> None:
        by = ["--by", "profile", "--profile", profile]
        self._run("data", "speak", set_, *by, *self._more["speak"])
        quality = ["--quality", self._args.quality, "--profile", profile]
        self._run("data", "filter", set_, *quality, *self._more["filter"])

    def _run(self, *words: object) -> None:
        from step_audio.cli.arguments import parser  # noqa: PLC0415 - it imports this module

        told = [str(word) for word in words]
        print(f"$ step-audio {shlex.join(told)}", flush=True)
        parsed = parser().parse_args(told)
        parsed.run(parsed, self._load)


def language_model(profile: str) -> Path:
    """Return the folder of a profile's language model. Raises InputError: it has none."""
    found = load_profile(profile)
    if not isinstance(found.engine, LocalEngineSection | VllmEngineSection):
        raise InputError(f"profile {profile} has no language model that a round could train")
    return Path(found.weights) / found.engine.folder


def outcome(set_: Path) -> dict[str, Any]:
    """Return how many lines were judged, how many passed, and their mean error rate or None.

    What could not be said at all counts as judged and not passed.
    """
    verdicts = {row["id"]: row["passed"] for row in read_rows(set_ / "verdicts.jsonl")}
    failed = {row["id"] for row in read_rows(set_ / "failures.jsonl")} - verdicts.keys()
    rates = [row["error_rate"] for row in read_rows(set_ / "scores.jsonl") if _heard(row)]
    return {
        "lines": len(verdicts) + len(failed),
        "accepted": sum(verdicts.values()),
        "error_rate": sum(rates) / len(rates) if rates else None,
    }


def _heard(row: dict[str, Any]) -> bool:
    return row.get("error_rate") is not None


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rounds as Markdown; `gain` is of the held-out lines' share against the last."""
    lines = [
        "| round | said | accepted | held-out accepted | gain | held-out error rate |",
        "|---|---|---|---|---|---|",
    ]
    before: float | None = None
    for row in rows:
        said, held = row.get("said"), row["held"]
        share = held["accepted"] / max(1, held["lines"])
        rate = held["error_rate"]
        cells = [
            str(row["round"]),
            str(said["lines"]) if said else "",
            f"{said['accepted'] / max(1, said['lines']):.3f}" if said else "",
            f"{share:.3f} of {held['lines']}",
            "" if before is None else f"{share - before:+.3f}",
            "" if rate is None else f"{rate:.3f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
        before = share
    return "\n".join(lines)
