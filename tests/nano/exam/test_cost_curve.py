"""What training bought: the rows that are kept, and the picture that the model card shows."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

from step_audio.nano.exam.cost_curve import PICTURE, ROWS, draw, main

KEPT = json.loads(ROWS.read_text(encoding="utf-8"))


def test_the_picture_is_that_of_the_rows(tmp_path: Path) -> None:
    main(["--out", str(tmp_path / "new.svg")])
    assert (tmp_path / "new.svg").read_text() == PICTURE.read_text()


def test_each_score_is_a_curve_through_its_rows_from_left_to_right() -> None:
    rows = [
        {"version": "a", "minutes": 0, "scores": {"one": 0.2, "other": 1.0}},
        {"version": "b", "minutes": 30, "scores": {"one": 0.4}},
    ]
    root = ET.fromstring(draw(rows))
    spots = [c for c in root.iter() if c.tag.endswith("circle")]
    assert len(spots) == 3
    (left, low), (right, high), _ = ((float(c.get("cx")), float(c.get("cy"))) for c in spots)  # type: ignore[arg-type]
    assert left < right
    assert low > high  # y runs down


def test_rows_rise_in_minutes() -> None:
    minutes = [row["minutes"] for row in KEPT]
    assert minutes == sorted(minutes)
