"""Resolve pyproject.toml into the four locks beside this file. Run: make lock

torch.lock   torch, torchaudio and what only they bring (the CUDA libraries, Triton)
run.lock     everything else that `step-audio` needs
dev.lock     what the checks and tests need on top
train.lock   what training nano needs on top

Each pin is exact, with the SHA-256 of every file published for it, so that plain
`pip install --require-hashes -r` checks what it gets. No file names where packages come from:
that stays pip's own setting. `--upgrade` takes the newest versions; otherwise pins stay.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TORCH_ONLY = re.compile(r"torch|torchaudio|triton|nvidia-.+|cuda-.+")
Pins = dict[str, str]
"""Package name -> its lines of a lock: pin, marker, hashes."""


def resolve(extra: str, kept: Path, present: str) -> Pins:
    """Return all pins of the project with one extra ("" for none), keeping `present` ones."""
    # uv keeps the versions it finds in its output file, and overwrites that file.
    kept.write_text(present)
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "-o", str(kept)]
    command += ["--extra", extra] if extra else []
    subprocess.run([*command, *sys.argv[1:], "pyproject.toml"], cwd=HERE.parent, check=True)
    blocks = re.split(r"^(?=[a-z0-9])", kept.read_text(), flags=re.MULTILINE)
    return {block.split("==")[0]: block for block in blocks if "==" in block}


def write(name: str, pins: Pins, about: str) -> None:
    """Write one lock, packages in alphabetical order."""
    lines = [f"# {about}\n", "# Made by `make lock` from pyproject.toml.\n"]
    (HERE / name).write_text("".join(lines + [pins[package] for package in sorted(pins)]))


def main() -> None:
    """Write the four locks."""
    present = "".join(path.read_text() for path in sorted(HERE.glob("*.lock")))
    kept = HERE / "all.lock"
    try:
        everything = resolve("", kept, present)
        extras = {extra: resolve(extra, kept, present) for extra in ("dev", "train")}
    finally:
        kept.unlink()
    torch = {name: pin for name, pin in everything.items() if TORCH_ONLY.fullmatch(name)}
    run = {name: pin for name, pin in everything.items() if name not in torch}
    write("torch.lock", torch, "PyTorch and what only it brings. Install run.lock first.")
    write("run.lock", run, "What step-audio needs besides PyTorch.")
    for extra, pins in extras.items():
        only = {name: pin for name, pin in pins.items() if name not in everything}
        write(f"{extra}.lock", only, f"The extra {extra!r}. Install run.lock first.")


if __name__ == "__main__":
    main()
