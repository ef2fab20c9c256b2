"""Runs targets of make one after another and says which of them turn the run red.

Red: a target fails, is not done in its time, has no environment, or leaves other files than it
found. Left out, said and counted: a target for which the machine lacks what the target declares.
Standard library only.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.ci.targets import Target

CLOSING = re.compile(r"^(=+ )?\d+ (passed|failed|error|skipped|deselected)")
LEFT_OUT = re.compile(r"^left out: (\d+) tests?, (.+)$")
GRACE_S = 30.0
"""From SIGTERM to SIGKILL."""


@dataclass
class Ran:
    """How one command ended: `code` is None when its time was over."""

    code: int | None
    closing: str = ""
    left_out: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class Outcome:
    """What became of one target."""

    target: Target
    why: str = ""
    """Why it is red; empty: it is not."""
    lacks: Sequence[str] = ()
    second_try: bool = False
    seconds: float = 0.0
    ran: Ran = field(default_factory=lambda: Ran(0))

    def __str__(self) -> str:
        """Return its line in the summary."""
        took = f"{self.seconds:.0f} s"
        if self.lacks:
            return f"left out {self.target.shown}: the machine lacks {', '.join(self.lacks)}"
        if self.why:
            return f"RED      {self.target.shown}: {self.why} ({took})"
        word = "2nd try " if self.second_try else "green   "
        return f"{word} {self.target.shown} ({took}) {self.ran.closing}".rstrip()


def run(
    targets: Iterable[Target],
    folder: Path,
    budget_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> list[Outcome]:
    """Run each target in a checkout; a red one does not keep the next from being run."""
    end = clock() + budget_s
    outcomes = []
    for target in targets:
        begun = clock()
        outcome = _one(target, folder, end, clock)
        outcome.seconds = clock() - begun
        outcomes.append(outcome)
        _say(f"CI: {outcome}")
    return outcomes


def _one(target: Target, folder: Path, end: float, clock: Callable[[], float]) -> Outcome:
    lacks = target.needs.lacking(folder)
    if lacks:
        return Outcome(target, lacks=lacks)
    before = tree(folder)
    outcome = _made_and_run(target, folder, end, clock)
    changed = sorted(set(tree(folder).items()) ^ set(before.items()))
    if changed and not outcome.why:
        names = ", ".join(dict.fromkeys(name for name, _ in changed))
        outcome.why = f"it changed or left files: {names}"
    return outcome


def _made_and_run(target: Target, folder: Path, end: float, clock: Callable[[], float]) -> Outcome:
    def left(limit_s: float) -> float:
        return min(limit_s, end - clock())

    if end - clock() <= 0:
        return Outcome(target, "not run: the time of the whole run is used up")
    for environment in target.environments:
        made = make((environment,), folder, left(target.set_up_s))
        if made.code != 0:
            how = "not made in its time" if made.code is None else "could not be made"
            return Outcome(target, f"its environment {environment} {how}", ran=made)
    words = (target.name, *target.variables)
    ran = make(words, folder, left(target.limit_s))
    if ran.code and target.again_s:
        _say(f"CI: {target.shown}: once more what failed")
        last = "ARGS=--last-failed --last-failed-no-failures none"
        again = make((*words, last), folder, left(target.again_s))
        if again.code == 0:
            return Outcome(target, second_try=True, ran=ran)
        ran.code = again.code
    if ran.code is None:
        return Outcome(target, "not done in its time; stopped", ran=ran)
    if ran.code:
        return Outcome(target, f"failed with {ran.code} {ran.closing}".rstrip(), ran=ran)
    return Outcome(target, ran=ran)


def make(words: Sequence[str], folder: Path, limit_s: float) -> Ran:
    """Run make; what it prints is passed on as it comes. All that it started ends with it."""
    ran = Ran(None)
    if limit_s <= 0:
        return ran
    process = subprocess.Popen(
        ("make", *words),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            if CLOSING.match(line):
                ran.closing = line.strip(" =\n")
            if found := LEFT_OUT.match(line):
                ran.left_out.append((int(found[1]), found[2].strip()))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        ran.code = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        _end(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
    _end(process, signal.SIGKILL)
    process.wait()
    reader.join(5)
    if process.stdout is not None and not reader.is_alive():
        process.stdout.close()
    return ran


def _end(process: subprocess.Popen[str], how: signal.Signals) -> None:
    """Signal the group that we started; nobody may be left in it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, how)


def git(folder: Path, *words: str) -> str | None:
    """Return what git says, None where there is no git or no checkout."""
    # The checkout may belong to another user than the one that runs CI.
    command = ("git", "-c", "safe.directory=*", *words)
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.decode(errors="surrogateescape")


def tree(folder: Path) -> dict[str, str]:
    """Return the files that git sees changed or untracked, each with a hash of its bytes."""
    asked = ("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all")
    said = git(folder, *asked) or ""
    found = {}
    for entry in filter(None, said.split("\0")):
        path = folder / entry[3:]
        # A symbolic link to a folder (a worktree's environment) is untracked too.
        data = path.read_bytes() if path.is_file() else b""
        found[entry[3:]] = hashlib.sha256(entry[:2].encode() + data).hexdigest()
    return found


def summary(outcomes: Sequence[Outcome], notes: Sequence[str] = ()) -> list[str]:
    """Return the last lines of a run: each target, what was left out and how much, the count."""
    lines = [*notes, *map(str, outcomes)]
    counted: dict[str, int] = {}
    for outcome in outcomes:
        for count, reason in outcome.ran.left_out:
            counted[reason] = max(count, counted.get(reason, 0))
    lines += [f"left out {count} tests: {reason}" for reason, count in counted.items()]
    red = sum(1 for outcome in outcomes if outcome.why)
    second = sum(1 for outcome in outcomes if outcome.second_try)
    out = sum(1 for outcome in outcomes if outcome.lacks)
    lines.append(
        f"{len(outcomes)} targets: {len(outcomes) - red - out} green"
        f" ({second} at the second try), {red} red, {out} left out"
    )
    return lines


def _say(line: str) -> None:
    print(line, flush=True)
