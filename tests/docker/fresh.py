"""A machine with nothing but Debian, Python and make: `make run` answers, `make test` passes.

The machine is a container that buildah makes of Debian's smallest system with Python, venv, make
and git. The checkout in it is what git has, nothing else. Prints times and disk as JSON; with
`--test` the last lines of `make test`, which name what was left out.

Run: make test-fresh    (as root; `apt install buildah debootstrap`; 15 GB of disk)
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.docker.images import Buildah, Failure, _background, _stop, _wait_ready, run
from tests.talk import ask_aloud

ROOT = Path(__file__).parents[2]
BASE = "step-audio-fresh:base"
HOME = "/srv/step-audio"
PACKAGES = "python3,python3-venv,make,git,ca-certificates"
READY_S = 3600.0


class Machine:
    """A container of the base, with the repository in it."""

    def __init__(self, images: Buildah, variables: Sequence[str]) -> None:
        self._images, self._variables = images, list(variables)
        images.base(BASE, PACKAGES)
        self.name = images.buildah("from", "--pull=never", BASE).strip()
        bundle = images.work / "checkout.tar"
        run("git", "-C", str(ROOT), "archive", "-o", str(bundle), "HEAD")
        images.buildah("add", "-q", self.name, str(bundle), HOME)
        bundle.unlink()

    def command(self, *words: str) -> list[str]:
        """Return what runs a command in the checkout there."""
        mounts = [word for mount in self._images.mounts() for word in ("-v", mount)]
        inner = ["env", "-C", HOME, *self._variables, *words]
        return [*self._images.command("run", *mounts, self.name), "--", *inner]

    def size_gb(self) -> float:
        """Return what the container's files take."""
        root = self._images.buildah("mount", self.name).strip()
        return int(run("du", "-sxk", root).split()[0]) / 1e6


def asked(machine: Machine, port: int) -> dict[str, object]:
    """Run `make run` and ask it a spoken question."""
    begun = time.monotonic()
    server = _background(*machine.command("make", "run", f"PORT={port}"))
    try:
        _wait_ready(server, port, READY_S)
        ready_s = time.monotonic() - begun
        answer = ask_aloud(f"127.0.0.1:{port}")
    finally:
        _stop(server)
    return {"run_ready_s": round(ready_s), **answer}


def tested(machine: Machine) -> list[str]:
    """Run `make test`; return its last lines. Raises Failure."""
    log = ROOT / "build" / "fresh-test.log"
    log.parent.mkdir(exist_ok=True)
    # Tests that read the history of git have none here, and say so.
    with log.open("w") as out:
        done = subprocess.run(
            machine.command("make", "test"), stdout=out, stderr=out, timeout=5400, check=False
        )
    lines = log.read_text(errors="replace").splitlines()[-40:]
    if done.returncode:
        raise Failure("make test failed:\n" + "\n".join(lines))
    return [line for line in lines if line.startswith("left out") or " passed" in line]


def main(argv: Sequence[str] | None = None) -> int:
    """Make the machine, ask, test, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "fresh")
    parser.add_argument("--port", type=int, default=8767)
    parser.add_argument("--test", action="store_true", help="also `make test`")
    parser.add_argument("--keep", action="store_true", help="leave the base for a next run")
    args = parser.parse_args(argv)
    index = os.environ.get("TORCH_INDEX")
    images: Buildah | None = None
    try:
        images = Buildah(args.work.resolve())
        machine = Machine(images, [f"TORCH_INDEX={index}"] if index else [])
        found = asked(machine, args.port)
        found["disk_gb"] = round(machine.size_gb(), 1)
        if args.test:
            begun = time.monotonic()
            for line in tested(machine):
                print(line)
            found |= {"test_s": round(time.monotonic() - begun)}
            found["disk_with_tests_gb"] = round(machine.size_gb(), 1)
        print(json.dumps({"bench": "fresh", **found}), flush=True)
    except Failure as failure:
        print(f"test-fresh: {failure}", file=sys.stderr)
        return 1
    finally:
        if images is not None:
            images.clean(keep=args.keep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
