"""No tracked file names a package registry or a path of somebody's machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# In pieces, so that this file passes its own test.
REGISTRIES = ("pypi" + ".org", "python" + "hosted", "download." + "pytorch", "registry." + "npmjs")
OPTIONS = ("--index" + "-url", "--extra-index" + "-url", "--find" + "-links", "--trusted" + "-host")
MACHINES = (
    "/ro" + "ot/",
    "/home" + r"/\w",
    "/Us" + r"ers/\w",
    "/wo" + "rk/",
    r"(?<![\w.])/t" + "mp/",
)
FORBIDDEN = re.compile(
    "|".join([re.escape(word) for word in REGISTRIES + OPTIONS] + list(MACHINES)).encode()
)
TEXT = {
    ".py",
    ".toml",
    ".lock",
    ".md",
    ".yaml",
    ".yml",
    ".json",
    ".txt",
    ".js",
    ".html",
    ".css",
    "",
}


def tracked() -> list[Path]:
    """Return the tracked files; skip where there is no git checkout."""
    result = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if result.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in result.stdout.decode().split("\0") if name]


def test_no_tracked_file_names_a_registry_or_a_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group().decode()}"
        for path in tracked()
        if path.is_file() and path.suffix in TEXT
        for match in [FORBIDDEN.search(path.read_bytes())]
        if match
    ]
    assert not found, found


@pytest.mark.parametrize(
    "line", ["-i https://" + REGISTRIES[0] + "/x", OPTIONS[0] + " x", MACHINES[3]]
)
def test_the_pattern_finds_what_it_looks_for(line: str) -> None:
    assert FORBIDDEN.search(line.encode())
