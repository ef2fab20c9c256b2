"""Check every component against a folder of goldens; exit 1 when one differs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from tests.golden_checks import flow, linguistic, lm, packing, semantic, vocoder
from tests.golden_checks.component import check

COMPONENTS = (
    *packing.COMPONENTS,
    *linguistic.COMPONENTS,
    *semantic.COMPONENTS,
    *flow.COMPONENTS,
    *vocoder.COMPONENTS,
    *lm.COMPONENTS,
)
DEFAULT = Path(__file__).parents[1] / "golden"


def main(argv: list[str] | None = None) -> int:
    """Print a line a component and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=DEFAULT)
    folder: Path = parser.parse_args(argv).folder
    if not folder.is_dir():
        print(f"no folder {folder}", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    passed = 0
    for component in COMPONENTS:
        outcome = check(component, folder)
        passed += outcome.passed
        print(outcome, flush=True)
    print(f"{passed} of {len(COMPONENTS)} components equal the reference")
    return 0 if passed == len(COMPONENTS) else 1


if __name__ == "__main__":
    sys.exit(main())
