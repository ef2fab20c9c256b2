import json

import pytest

from step_audio.nano.exam.bars import BARS, OPTIONAL, Bar, BarReport, Score

PERFECT = {b.key: Score(b.target, count=10) for b in BARS}


def test_report_passes_only_when_every_bar_is_measured_and_met() -> None:
    assert BarReport(PERFECT, {}, "h").passed()
    for bar in BARS:
        without = {k: v for k, v in PERFECT.items() if k != bar.key}
        assert BarReport(without, {}, "h").passed() is (bar.key in OPTIONAL)


@pytest.mark.parametrize("bar", BARS, ids=lambda bar: bar.key)
def test_each_bar_fails_on_its_wrong_side(bar: Bar) -> None:
    step = 0.01 if bar.better == "lower" else -0.01
    assert bar.met(bar.must, bar.must)
    assert not bar.met(bar.must + step, bar.must)
    assert bar.met(bar.target, bar.must)


def test_json_keeps_unmeasured_bars_as_null() -> None:
    rows = json.loads(BarReport({}, {"x": 1}, "h").to_json())
    assert rows["passed"] is False
    assert {row["key"] for row in rows["bars"]} == {bar.key for bar in BARS}
    assert all(row["value"] is None for row in rows["bars"])


def test_table_prints_score_ceiling_and_verdict() -> None:
    table = BarReport(
        {"right_seen_voice": Score(0.8, 0.96, 25, (0.61, 0.91))}, {}, "h"
    ).to_markdown()
    row = next(line for line in table.splitlines() if "seen voice in noise" in line)
    assert row.endswith("| 0.75 | 0.9 | 0.8 | 0.610 to 0.910 | 0.96 | 25 | pass |")
