"""Dockerfiles by hadolint's rules; compose files by Docker's own reader where it is at hand.

Run: make test-docker, or python -m tests.docker.lint with `hadolint` on the path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

DOCKER: Final = Path(__file__).parents[2] / "docker"
GIVEN: Final = {"MODELS": "/models", "STEP_AUDIO_KEY": "given"}
"""What compose files ask of whoever starts them."""


def main() -> int:
    """Print what is wrong; 1 when something is."""
    wrong = 0
    if shutil.which("hadolint") is None:
        print("no hadolint on the path: make test-docker installs it", file=sys.stderr)
        return 1
    for path in sorted(DOCKER.glob("*.Dockerfile")):
        wrong += _fails("hadolint", "--no-color", str(path))
    client = _compose()
    for path in sorted(DOCKER.glob("compose*.yaml")) if client else ():
        wrong += _fails(*client, "-f", str(path), "config", "--quiet")
    said = "config" if client else "config not checked, no client here"
    print(f"Dockerfiles: hadolint; compose files: {said}; {wrong} wrong")
    return 1 if wrong else 0


def _compose() -> tuple[str, ...]:
    """Return the words that start compose; none where it is not installed, or the old one."""
    for words in (("docker", "compose"), ("docker-compose",)):
        if shutil.which(words[0]):
            told = [*words, "version", "--short"]
            said = subprocess.run(told, capture_output=True, text=True, check=False)
            # Version 1 does not know `name:`, nor how to start what these files say.
            if said.returncode == 0 and not said.stdout.lstrip("v").startswith("1."):
                return words
    return ()


def _fails(*command: str) -> bool:
    return bool(subprocess.run(command, env={**os.environ, **GIVEN}, check=False).returncode)


if __name__ == "__main__":
    sys.exit(main())
