"""A run of scripted dialogues in a folder: timelines as they end, then the report and its page.

run.json          what was asked of whom
timelines.jsonl   a dialogue a row; those that are there are not held again
report.json, report.md, page.html
"""

from __future__ import annotations

import asyncio
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from step_audio.core.json_lines import RowWriter, read_rows
from step_audio.data.plots import histogram, intervals
from step_audio.eval.examinee import ExamineeBusy, ExamineeGone
from step_audio.eval.intervals import share_interval
from step_audio.eval.page import page, table
from step_audio.eval.report import REPORT, number
from step_audio.eval.runs import Progress, begin, quietly
from step_audio.eval.scores.marks import FIGURES
from step_audio.eval.turns.caller import ScriptedCaller
from step_audio.eval.turns.scripts import ScriptedDialogue
from step_audio.eval.turns.timeline import DELAYS, SHARES, Timeline, gathered

TIMELINES: Final = "timelines.jsonl"
_PERCENTILES: Final = (50, 90, 95, 99)
_DRAWS: Final = 1000
_BUSY_WAIT_S: Final = 2.0
_MOST_WAITS: Final = 30


async def hold_all(
    folder: Path,
    scripts: Sequence[ScriptedDialogue],
    url: str,
    facts: Mapping[str, Any],
    *,
    key: str = "",
    places: int = 1,
    patience_s: float = 30.0,
    progress: Progress = quietly,
) -> dict[str, Any]:
    """Hold the dialogues that a run's folder lacks; write and return the report.

    Args:
        places: dialogues side by side.
        patience_s: so long an answer may take.

    Raises:
        InputError: the folder holds another run. ExamineeGone: nobody answers any more.
    """
    begin(folder, facts)
    known = {row["id"] for row in read_rows(folder / TIMELINES)}
    waiting = iter([script for script in scripts if script.id not in known])
    left = sum(script.id not in known for script in scripts)
    with RowWriter(folder / TIMELINES) as rows, progress(left, "dialogues") as tick:

        async def work() -> None:
            for script in waiting:
                rows.add((await _held(script, url, key, patience_s)).row())
                tick()

        try:
            async with asyncio.TaskGroup() as group:
                for at in range(max(1, places)):
                    group.create_task(work(), name=f"turns.worker.{at}")
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
    wanted = {script.id for script in scripts}
    held = [Timeline.of_row(r) for r in read_rows(folder / TIMELINES) if r["id"] in wanted]
    return make_report(folder, held, facts)


async def _held(script: ScriptedDialogue, url: str, key: str, patience_s: float) -> Timeline:
    for _ in range(_MOST_WAITS):
        try:
            return await ScriptedCaller(url, script, key, patience_s).play()
        except ExamineeBusy:
            await asyncio.sleep(_BUSY_WAIT_S)
    raise ExamineeGone(f"{url} had no place for a minute")


def make_report(
    folder: Path, lines: Sequence[Timeline], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Write report.json, report.md and page.html of dialogues; return the report."""
    values = gathered(lines)
    errors = sorted({error for line in lines for error in line.errors})
    report = {
        **facts,
        "recognizer": "",
        "judge": "",
        "measures": [],
        "items": len(lines),
        "errors": errors,
        "caller_lag_ms": round(1000 * max((line.lag_s for line in lines), default=0.0), 1),
        "figures": [_row(name, found) for name, found in values.items() if found],
        "percentiles": {name: _percentiles(values[name]) for name in DELAYS if values[name]},
    }
    text = json.dumps(report, indent=1, ensure_ascii=False)
    (folder / REPORT).write_text(text + "\n", encoding="utf-8")
    (folder / "report.md").write_text(markdown(report), encoding="utf-8")
    (folder / "page.html").write_text(_page(report, values), encoding="utf-8")
    return report


def markdown(report: Mapping[str, Any]) -> str:
    """Return a report as Markdown."""
    lines = [
        f"# Turns: {report['examinee']}",
        "",
        f"{report['items']} dialogues in real time; the caller's own clock was late by at most"
        f" {report['caller_lag_ms']:g} ms.",
        "",
        "| figure | value | 95 % | n |",
        "|---|---|---|---|",
    ]
    for row in report["figures"]:
        title = _title(row["figure"])
        interval = f"{row['low']:.1f} to {row['high']:.1f}"
        lines.append(f"| {title} | {row['value']:.1f} | {interval} | {row['count']} |")
    if report["percentiles"]:
        head = [f"p{p}" for p in _PERCENTILES]
        lines += ["", f"| delay | {' | '.join(head)} | largest |", "|---" * (len(head) + 2) + "|"]
        for name, found in report["percentiles"].items():
            cells = [f"{found[key]:.0f}" for key in (*head, "max")]
            lines.append(f"| {FIGURES[name].title} | {' | '.join(cells)} |")
    if report["errors"]:
        lines += ["", "Errors: " + "; ".join(report["errors"])]
    return "\n".join(lines) + "\n"


def _row(name: str, found: Sequence[float]) -> dict[str, Any]:
    if name in SHARES:
        low, high = share_interval(sum(value == 1.0 for value in found), len(found))
        value, scale = sum(found) / len(found), 100.0
    else:
        drawn = np.random.default_rng(0).choice(found, (_DRAWS, len(found)))
        low, high = (float(q) for q in np.quantile(np.median(drawn, axis=1), (0.025, 0.975)))
        value, scale = float(np.median(found)), 1.0
    figures = {"value": value, "low": low, "high": high}
    return {
        "figure": name,
        "of": "sound",
        "category": "all",
        **{key: round(scale * figure, 2) for key, figure in figures.items()},
        "count": len(found),
        "invalid": 0,
    }


def _title(name: str) -> str:
    return FIGURES[name].title + (" (median)" if name in DELAYS else "")


def _percentiles(found: Sequence[float]) -> dict[str, float]:
    named = {f"p{p}": float(np.percentile(found, p)) for p in _PERCENTILES}
    return {**{key: round(value, 1) for key, value in named.items()}, "max": round(max(found), 1)}


def _page(report: Mapping[str, Any], values: Mapping[str, Sequence[float]]) -> str:
    rows = [
        [
            html.escape(_title(row["figure"])),
            number(row["value"]),
            f"{row['low']:.1f} to {row['high']:.1f}",
            str(row["count"]),
        ]
        for row in report["figures"]
    ]
    body = [table(("figure", "value", "95 %", "n"), rows, frozenset({1, 2, 3}))]
    shares = [
        (FIGURES[row["figure"]].title, row["value"], row["low"], row["high"])
        for row in report["figures"]
        if row["figure"] in SHARES
    ]
    if shares:
        body.append(intervals(shares, "Shares", 0.0, 100.0))
    body += [histogram(values[name], FIGURES[name].title, "ms") for name in DELAYS if values[name]]
    return page(f"Turns: {report['examinee']}", body)
