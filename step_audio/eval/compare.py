"""Runs side by side: one table with intervals, the papers' published rows, and a page.

A figure compares with another only when the same judge and the same recogniser made both; where
they differ it is marked.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final, get_args

from step_audio.core.errors import InputError
from step_audio.core.json_lines import read_rows
from step_audio.data.plots import intervals
from step_audio.eval.page import LISTED, axis, badness, beside, page, player, table
from step_audio.eval.report import ITEMS, read_report, title_of
from step_audio.eval.scores.marks import FIGURES, FigureRow, Of

_JUDGED: Final = frozenset(
    {"correct", "yes", "rating", "rating10", "reasoning", "uro", "factuality", "relevance", "chat"}
    | {"call_arguments_judged"}
)
_Key = tuple[str, str, str, str]
"""Set, category, figure, what was judged."""


@dataclass(frozen=True, slots=True)
class PublishedFigure:
    """A figure that a paper gives.

    Attributes:
        by: the judge or the measure, "" where a rule decides.
        note: what else keeps it from comparing.
    """

    set: str
    category: str
    figure: str
    model: str
    value: float
    by: str
    source: str
    note: str = ""

    @property
    def of(self) -> Of:
        """What it is of: papers judge the texts of answers, and the sound of what is read aloud."""
        return "sound" if self.set == "seed-tts" else "text"


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One run: its folder, its report and the label of its column."""

    folder: Path
    report: Mapping[str, Any]
    label: str

    def rows(self) -> dict[_Key, FigureRow]:
        """Return its figures by what they are of."""
        rows = [FigureRow(**row) for row in self.report["figures"]]
        return {(str(self.report["set"]), r.category, r.figure, r.of): r for r in rows}


@cache
def published_figures() -> tuple[PublishedFigure, ...]:
    """Return what the papers give, from `published_figures.json`."""
    file = resources.files("step_audio.eval") / "published_figures.json"
    return tuple(PublishedFigure(**row) for row in json.loads(file.read_text(encoding="utf-8")))


def open_runs(folders: Sequence[Path]) -> list[ComparedRun]:
    """Return runs with labels that differ.

    Raises:
        InputError: a folder without a report.
    """
    reports = [(folder, read_report(folder)) for folder in folders]
    for folder, report in reports:
        if "figures" not in report or "set" not in report:
            raise InputError(f"{folder} holds no report of an evaluation")
    runs: list[ComparedRun] = []
    for folder, report in reports:
        label = str(report["examinee"])
        same = [r for r in runs if r.label == label and r.report["set"] == report["set"]]
        runs.append(ComparedRun(folder, report, f"{label} ({folder.name})" if same else label))
    return runs


def markdown(runs: Sequence[ComparedRun]) -> str:
    """Return the table of runs, set by set."""
    lines = ["# Comparison", ""]
    for name, group in _by_set(runs).items():
        head, rows = _table(name, group, mark="*")
        lines += [f"## {group[0].report['title']}", "", f"| {' | '.join(head)} |"]
        lines.append("|---" * len(head) + "|")
        lines += [
            f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows
        ]
        lines += ["", *(f"- {note}" for note in _notes(name, group)), ""]
    return "\n".join(lines)


def write_comparison(runs: Sequence[ComparedRun], out: Path) -> Path:
    """Write compare.md, compare.json and compare.html into a folder; return the page."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "compare.md").write_text(markdown(runs) + "\n", encoding="utf-8")
    whole = [{"label": run.label, "folder": str(run.folder), **run.report} for run in runs]
    text = json.dumps(whole, indent=1, ensure_ascii=False)
    (out / "compare.json").write_text(text + "\n", encoding="utf-8")
    body = []
    for name, group in _by_set(runs).items():
        head, rows = _table(name, group, mark="*")
        escaped = [[html.escape(cell) for cell in row] for row in rows]
        body += [f"<h2>{html.escape(group[0].report['title'])}</h2>"]
        body.append(table([html.escape(cell) for cell in head], escaped, frozenset()))
        body += [f'<p class="note">{html.escape(note)}</p>' for note in _notes(name, group)]
        body += _plots(name, group)
        body.append(_heard_side_by_side(group, out))
    path = out / "compare.html"
    path.write_text(page("Comparison", body), encoding="utf-8")
    return path


def _by_set(runs: Sequence[ComparedRun]) -> dict[str, list[ComparedRun]]:
    groups: dict[str, list[ComparedRun]] = {}
    for run in runs:
        groups.setdefault(str(run.report["set"]), []).append(run)
    return groups


def _table(name: str, runs: Sequence[ComparedRun], mark: str) -> tuple[list[str], list[list[str]]]:
    """Return head and rows: a figure a row, a run a column, the papers' in the last."""
    of_runs = [run.rows() for run in runs]
    papers = [paper for paper in published_figures() if paper.set == name]
    wanted = {(name, paper.category, paper.figure, paper.of) for paper in papers}
    keys = sorted(
        {key for rows in of_runs for key in rows} | wanted,
        key=lambda k: (k[1] != "all", k[1], list(FIGURES).index(k[2]), get_args(Of).index(k[3])),
    )
    lines = []
    for key in keys:
        _, category, figure, of = key
        cells = [_value(rows.get(key)) for rows in of_runs]
        told = [
            f"{paper.model} {paper.value:g}{mark if _differs(paper, runs) else ''}"
            for paper in papers
            if (paper.category, paper.figure, paper.of) == (category, figure, of)
        ]
        measures = [m for run in runs for m in run.report.get("measures", ())]
        title = title_of(figure, measures) if figure in FIGURES else figure
        lines.append([category, title, of, *cells, "; ".join(told)])
    return ["category", "figure", "of", *(run.label for run in runs), "papers"], lines


def _value(row: FigureRow | None) -> str:
    if row is None or row.value is None:
        return "-"
    low, high = row.low, row.high
    told = f"{row.value:.2f}"
    if low is not None and high is not None:
        told += f" ({low:.2f} to {high:.2f})"
    return told + (f", {row.invalid} invalid" if row.invalid else "")


def _differs(paper: PublishedFigure, runs: Sequence[ComparedRun]) -> bool:
    """Whether something other than the model differs between a paper's figure and a run's."""
    if paper.note:
        return True
    if paper.figure in _JUDGED:
        return any(_plain(str(run.report["judge"])) != _plain(paper.by) for run in runs)
    if paper.by:
        used = [*(str(run.report["recognizer"]) for run in runs)]
        used += [str(m) for run in runs for m in run.report.get("measures", ())]
        return all(_plain(paper.by) not in _plain(name) for name in used)
    return False


def _notes(name: str, runs: Sequence[ComparedRun]) -> list[str]:
    notes = []
    for what, told in (("judge", "judges"), ("recognizer", "recognisers")):
        used = {run.label: str(run.report[what]) or "none" for run in runs}
        if len(set(used.values())) > 1:
            listed = ", ".join(f"{label}: {value}" for label, value in used.items())
            notes.append(f"The {told} differ ({listed}): these columns do not compare.")
        else:
            notes.append(f"{told.capitalize()[:-1]}: {next(iter(used.values()))}.")
    if len({run.report["items"] for run in runs}) > 1:
        counts = ", ".join(f"{run.label}: {run.report['items']}" for run in runs)
        notes.append(f"Not all were asked the same number of items ({counts}).")
    for paper in published_figures():
        if paper.set == name:
            by = f", by {paper.by}" if paper.by else ""
            note = f"; {paper.note}" if paper.note else ""
            mark = "*" if _differs(paper, runs) else ""
            notes.append(
                f"{paper.model}, {paper.category}, {paper.figure}: {paper.value:g}{mark}{by}"
                f" ({paper.source}{note})."
            )
    return list(dict.fromkeys(notes))


def _plots(name: str, runs: Sequence[ComparedRun]) -> list[str]:
    drawn = []
    of_runs = [(run.label, run.rows()) for run in runs]
    for figure in FIGURES:
        lines = []
        for of in ("text", "sound", "both"):
            for label, rows in of_runs:
                row = rows.get((name, "all", figure, of))
                if row is not None and None not in (row.value, row.low, row.high):
                    lines.append((f"{label}, {of}", row.value, row.low, row.high))
        known = [
            (n, v, lo, hi)
            for n, v, lo, hi in lines
            if v is not None and lo is not None and hi is not None
        ]
        if known:
            low, high = axis(figure, [line[3] for line in known])
            drawn.append(intervals(known, FIGURES[figure].title, low, high))
    return drawn


def _heard_side_by_side(runs: Sequence[ComparedRun], out: Path) -> str:
    """Return the items that one run answers better than another, with every answer's sound."""
    rows = [{row["id"]: row for row in read_rows(run.folder / ITEMS)} for run in runs]
    shared = [name for name in rows[0] if all(name in other for other in rows[1:])]
    apart = [
        (max(bad) - min(bad), name)
        for name in shared
        if max(bad := [badness(other[name]) for other in rows]) - min(bad) > 0
    ]
    lines = []
    for _, name in sorted(apart, key=lambda one: -one[0])[:LISTED]:
        first = rows[0][name]
        cells = [html.escape(name), html.escape(first["question"] or "(spoken)")]
        cells.append(html.escape("; ".join(first["reference"])[:200]))
        for run, other in zip(runs, rows, strict=True):
            row = other[name]
            sound = beside(run.folder / row["sound"], out) if row["sound"] else ""
            said = html.escape(str(row["texts"][-1] if row["texts"] else row["error"])[:300])
            heard = f"<br><span class=note>heard: {html.escape(row['heard'])}</span>"
            worse = ' class="bad"' if badness(row) > min(badness(o[name]) for o in rows) else ""
            cells.append(
                f"<span{worse}>{said}</span>{heard if row['heard'] else ''}<br>{player(sound)}"
            )
        lines.append(cells)
    title = f"<h3>Where they differ: {len(apart)} of {len(shared)} items</h3>"
    head = ["item", "question", "right", *(html.escape(run.label) for run in runs)]
    return title + table(head, lines, frozenset())


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
