"""What CI runs: Debian's packages, then the targets of this run. Run: .ci/run

Which slow targets a run takes goes by the number of commits on the main line: CI keeps nothing from
run to run, and that number is the same wherever a commit is run again, so that a red run can be
repeated. A run of every commit or merge there meets each of them at every third. A checkout without
its history goes by the day. CI_SLOT=0, 1, 2 or "all" decides otherwise; CI_ONLY names targets.
Standard library only; ends with pytest's closing line of `make test`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.ci import runner
from tests.ci.targets import (
    ALWAYS,
    BUDGET_S,
    PACKAGES,
    SLOTS,
    Package,
    Target,
    of_this_run,
)

ROOT = Path(__file__).parents[2]
DAY_S = 86_400


def number_of_run(folder: Path, now_s: float) -> tuple[int, str]:
    """Return what decides the slot, and in words by what it goes."""

    shallow = runner.git(folder, "rev-parse", "--is-shallow-repository")
    count = runner.git(folder, "rev-list", "--count", "--first-parent", "HEAD")
    if shallow is None or count is None or shallow.strip() == "true":
        day = int(now_s // DAY_S)
        return day, f"day {day}; the checkout has no history"
    return int(count), f"commit {int(count)} of the main line"


def chosen(number: int, environ: Mapping[str, str]) -> list[Target]:
    """Return the targets of this run. Raises SystemExit: the environment names others."""
    everything = [*ALWAYS, *(target for slot in SLOTS for target in slot)]
    if only := environ.get("CI_ONLY", "").split():
        known = {target.name: target for target in everything}
        if strange := [name for name in only if name not in known]:
            raise SystemExit(f"CI_ONLY names {', '.join(strange)}; there is {', '.join(known)}")
        return [known[name] for name in only]
    slot = environ.get("CI_SLOT", "")
    if slot == "all":
        return everything
    if slot and slot not in map(str, range(len(SLOTS))):
        raise SystemExit(f"CI_SLOT is {slot!r}; 0 to {len(SLOTS) - 1}, or all")
    return of_this_run(int(slot) if slot else number)


def install(packages: Sequence[Package]) -> tuple[list[str], str]:
    """Install what is missing where that is possible.

    Returns what is still missing, and why that is a fault; empty: this machine cannot install.
    """
    missing = [package.name for package in packages if not package.is_there()]
    if not missing:
        return [], ""
    try:
        if os.geteuid() != 0:
            return missing, ""
        # At run level 1 no service of a package (nginx) is started.
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        for words, limit_s in (
            (("update", "-qq"), 300),
            (("install", "-y", "-qq", *missing), 900),
        ):
            subprocess.run(
                ("apt-get", *words),
                env=quiet,
                stdout=subprocess.DEVNULL,
                timeout=limit_s,
                check=False,
            )
    except FileNotFoundError:
        return missing, ""
    except subprocess.TimeoutExpired:
        pass
    missing = [package.name for package in packages if not package.is_there()]
    return missing, "apt-get could not install them" if missing else ""


def main() -> int:
    """Run; 1: something is red."""
    number, by = number_of_run(ROOT, time.time())
    targets = chosen(number, os.environ)
    print(f"CI: slot {number % len(SLOTS)} of {len(SLOTS)}, by {by}", flush=True)
    begun = time.monotonic()
    missing, fault = install(PACKAGES)
    outcomes = runner.run(targets, ROOT, BUDGET_S - (time.monotonic() - begun))
    notes = []
    if fault:
        notes = [f"RED      Debian's packages {' '.join(missing)}: {fault}"]
    elif missing:
        notes = [f"left out Debian's packages {' '.join(missing)}: not root, or no apt-get"]
    others = {t.name for slot in SLOTS for t in slot} - {target.name for target in targets}
    if runner.git(ROOT, "rev-parse", "HEAD") is None:
        notes.append("left out the check that tests change no files: no git, or no checkout")
    if others:
        notes.append(f"not in this run's slot: {', '.join(sorted(others))}")
    print()
    print("\n".join(runner.summary(outcomes, notes)))
    print(next((o.ran.closing for o in outcomes if o.target.name == "test"), ""), flush=True)
    return 1 if fault or any(outcome.why for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
