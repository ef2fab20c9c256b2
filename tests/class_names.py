"""No two classes of the product share a name. Run: python -m tests.class_names"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from pathlib import Path
from typing import Final

PACKAGES: Final = ("step_audio", "server", "tokenizer", "vocoder")


def shared_names(root: Path) -> dict[str, list[str]]:
    """Return each name that several classes have, and where each of them stands (FILE:LINE).

    Private classes count, and so do classes inside classes and functions.
    """
    places: defaultdict[str, list[str]] = defaultdict(list)
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(f"{path.relative_to(root)}:{node.lineno}")
    return {name: found for name, found in sorted(places.items()) if len(found) > 1}


def main(root: Path) -> int:
    """Print the shared names; return 1 if there are any."""
    shared = shared_names(root)
    for name, places in shared.items():
        print(f"class {name} is defined {len(places)} times: {', '.join(places)}", file=sys.stderr)
    return int(bool(shared))


if __name__ == "__main__":
    sys.exit(main(Path(__file__).parents[1]))
