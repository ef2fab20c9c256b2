"""What training bought: minutes of one core against scores, as a plot for the model card.

Run: python -m step_audio.nano.exam.cost_curve    (after a row was added to cost.json)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from step_audio.data.plots import curves

ROWS: Final = Path(__file__).with_name("cost.json")
"""A list of {"version", "minutes", "scores": {name: value}}; minutes of one core in all."""
PICTURE: Final = Path(__file__).parents[3] / "docs" / "nano-cost.svg"


def draw(rows: Sequence[dict[str, object]]) -> str:
    """Return the plot of rows as `ROWS` holds them; a score that a row lacks is passed over."""
    lines: dict[str, list[tuple[float, float, str]]] = {}
    for row in rows:
        minutes, scores = row["minutes"], row["scores"]
        assert isinstance(minutes, int | float)
        assert isinstance(scores, dict)
        for name, value in scores.items():
            lines.setdefault(name, []).append((float(minutes), float(value), str(row["version"])))
    return curves(lines, "What training bought", "minutes of one core since the first row")


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PICTURE)
    out: Path = parser.parse_args(argv).out
    out.write_text(draw(json.loads(ROWS.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
