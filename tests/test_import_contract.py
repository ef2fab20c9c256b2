"""The import contract holds, and breaking it is noticed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("step_audio", "tokenizer", "vocoder", "server")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources alone, to plant violations in."""
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package,
            tmp_path / package,
            ignore=lambda folder, names: [
                name for name in names if not name.endswith(".py") and Path(folder, name).is_file()
            ],
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """Run lint-imports on the tree at `root`, not on the installed one."""
    program = (
        "import sys; from importlinter.cli import lint_imports_command as run; run(['--no-cache'])"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_contract_holds(copy: Path) -> None:
    result = lint(copy)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("step_audio/core/types.py", "import torch", "No model runtime above the seams"),
        ("step_audio/core/types.py", "import step_audio.dialog", "Imports point down"),
        ("tokenizer/__init__.py", "import vocoder", "Imports point down"),
        ("vocoder/__init__.py", "import httpx", "No network below the edge"),
        ("vocoder/__init__.py", "import step_audio.dialog", "Models know nothing of dialogue"),
    ],
)
def test_a_planted_violation_is_reported(copy: Path, file: str, line: str, contract: str) -> None:
    with (copy / file).open("a") as source:
        source.write(f"\n{line}\n")
    result = lint(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"{contract} BROKEN" in result.stdout
