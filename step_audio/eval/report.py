"""The report of one run: marks of every item, figures with intervals, report.json and report.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from step_audio.core.json_files import read_object
from step_audio.core.json_lines import write_rows
from step_audio.eval.latency import percentiles
from step_audio.eval.runs import Run, said_of
from step_audio.eval.scores.judges import SHAPES, JudgePanel
from step_audio.eval.scores.marks import FIGURES, FigureRow, Mark, Of, figure_rows
from step_audio.eval.scores.rules import RULES, Said, consistency
from step_audio.eval.sets.items import Item

REPORT: Final = "report.json"
ITEMS: Final = "items.jsonl"
_NAMED: Final = 20
"""So many broken rows and missing sounds are listed."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Who judged a run, and what came of it.

    Attributes:
        heard: what the recogniser heard of each sound; None: nobody listened.
        recognizer: its name.
        panel: the judges; None: nobody was asked.
        measures: name of a measure to its figures by item.
        send_audio: whether the judge heard the sounds too.
    """

    heard: Mapping[str, str] | None = None
    recognizer: str = ""
    panel: JudgePanel | None = None
    measures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    send_audio: bool = False


def marks_of(run: Run, judged: Judged) -> dict[str, list[Mark]]:
    """Return the marks of every answered item. One without its question's sound has none; one that
    the examinee failed has the lowest."""
    answers, verdicts = run.answers(), run.verdicts()
    marks: dict[str, list[Mark]] = {}
    for item in run.items:
        row = answers.get(item.id)
        if row is not None and not row["missing"]:
            marks[item.id] = _marks(run, item, row, judged, verdicts)
    return marks


def _marks(
    run: Run,
    item: Item,
    row: dict[str, Any],
    judged: Judged,
    verdicts: Mapping[str, Mapping[str, float] | None],
) -> list[Mark]:
    rule, failed = RULES[item.scoring], bool(row["error"])
    said = Said("") if failed else said_of(row)
    heard = None if judged.heard is None or not rule.listened else judged.heard.get(item.id, "")
    if failed and heard is not None:
        heard = ""
    marks: list[Mark] = []
    views: list[tuple[Of, Said]] = [] if item.task == "speak" else [("text", said)]
    if heard is not None:
        views.append(("sound", Said(heard, said.calls)))
    if rule.mark is not None:
        for of, view in views:
            marks += rule.mark(item, view, of)
    if judged.panel is not None:
        marks += _judged(run, item, row, judged, verdicts)
    if heard and said.words and item.task == "answer":
        marks.append(consistency(said.words, heard))
    for name, values in judged.measures.items():
        if item.id in values and not failed:
            marks.append(Mark(name.split(":")[0], "sound", values[item.id]))
    return marks


def _judged(
    run: Run,
    item: Item,
    row: dict[str, Any],
    judged: Judged,
    verdicts: Mapping[str, Mapping[str, float] | None],
) -> list[Mark]:
    assert judged.panel is not None
    heard = None if judged.heard is None else dict(judged.heard)
    seen = dict.fromkeys(RULES[item.scoring].judges, 0)
    marks = []
    if row["error"]:
        row = {**row, "texts": [""], "sound": ""}
        heard = None if heard is None else {**heard, item.id: ""}
    for shape, asked in run.asked(item, row, heard, send_audio=judged.send_audio):
        of: Of = "sound" if seen[shape] else "text"
        seen[shape] += 1
        worst = SHAPES[shape].worst
        verdict = worst
        if asked.answer.strip():
            key = judged.panel.key(shape, asked)
            if key not in verdicts:
                continue
            verdict = verdicts[key] or {}
        for figure, lowest in worst.items():
            invalid = figure not in verdict
            marks.append(Mark(figure, of, float(verdict.get(figure, lowest)), 1.0, invalid))
    return marks


def make_report(
    run: Run, facts: Mapping[str, Any], broken: Sequence[str], judged: Judged
) -> dict[str, Any]:
    """Write report.json and report.md; return the report."""
    answers = run.answers()
    marks = marks_of(run, judged)
    categories = {item.id: item.category for item in run.items}
    rows = figure_rows(marks, categories)
    missing = [row for row in answers.values() if row["missing"]]
    failed = [row for row in answers.values() if row["error"] and not row["missing"]]
    unscored = {rule.unscored for i in run.items if (rule := RULES[i.scoring]).unscored}
    report = {
        **facts,
        "recognizer": judged.recognizer,
        "judge": "" if judged.panel is None else judged.panel.endpoint.model,
        "measures": list(judged.measures),
        "items": len(run.items),
        "answered": len(answers) - len(missing) - len(failed),
        "failed": len(failed),
        "missing_sounds": len(missing),
        "broken_rows": len(broken),
        "first_broken": list(broken[:_NAMED]),
        "first_missing": [row["error"] for row in missing[:_NAMED]],
        "first_failed": [f"{row['id']}: {row['error']}" for row in failed[:_NAMED]],
        "unscored": sorted(unscored),
        "figures": [row.row() for row in rows],
        "first_audio_ms": _spread([row["first_audio_ms"] for row in answers.values()]),
        "rtf": _spread([row["rtf"] for row in answers.values()]),
    }
    write_rows(run.folder / ITEMS, _item_rows(run, answers, marks, judged))
    text = json.dumps(report, indent=1, ensure_ascii=False)
    (run.folder / REPORT).write_text(text + "\n", encoding="utf-8")
    (run.folder / "report.md").write_text(markdown(report), encoding="utf-8")
    return report


def _item_rows(
    run: Run,
    answers: Mapping[str, Mapping[str, Any]],
    marks: Mapping[str, Sequence[Mark]],
    judged: Judged,
) -> Iterator[dict[str, Any]]:
    """Yield what a page shows of each item, in the order of the set."""
    for item in run.items:
        row = answers.get(item.id)
        if row is None:
            continue
        yield {
            "id": item.id,
            "category": item.category,
            "question": item.turns[-1].text if item.task != "speak" else "",
            "reference": list(item.reference),
            "texts": row["texts"],
            "transcript": row["transcript"],
            "calls": row["calls"],
            "heard": (judged.heard or {}).get(item.id, ""),
            "sound": row["sound"],
            "error": row["error"],
            "missing": row["missing"],
            "marks": [[m.figure, m.of, m.got, m.out_of, m.invalid] for m in marks.get(item.id, ())],
        }


def markdown(report: Mapping[str, Any]) -> str:
    """Return a report as Markdown."""
    lines = [f"# {report['title']}: {report['examinee']}", "", _summary(report), ""]
    rows = [FigureRow(**row) for row in report["figures"]]
    lines += [
        "| category | figure | of | value | 95 % | n | invalid |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        title = title_of(row.figure, report["measures"])
        of = {"text": "text", "sound": "sound", "both": "sound against text"}[row.of]
        cells = (row.category, title, of, number(row.value), between(row), row.count, row.invalid)
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    apart = differences(rows)
    if apart:
        lines += ["", "What the sound loses against its text:", ""]
        lines += ["| category | figure | text | sound | difference |", "|---|---|---|---|---|"]
        for text, sound in apart:
            assert text.value is not None
            assert sound.value is not None
            lost = f"{sound.value - text.value:+.2f}"
            pair = f"{number(text.value)} | {number(sound.value)} | {lost}"
            lines.append(f"| {_cell(text.category)} | {FIGURES[text.figure].title} | {pair} |")
    for title, key in (
        ("Broken rows", "first_broken"),
        ("Missing sounds", "first_missing"),
        ("Failed", "first_failed"),
        ("Not scored", "unscored"),
    ):
        if report[key]:
            lines += ["", f"{title}:", "", *(f"- {_cell(line)}" for line in report[key])]
    return "\n".join(lines) + "\n"


def differences(rows: Sequence[FigureRow]) -> list[tuple[FigureRow, FigureRow]]:
    """Return the figures that there are of both text and sound, as pairs."""
    sounds = {(row.category, row.figure): row for row in rows if row.of == "sound"}
    pairs = [
        (row, sounds[row.category, row.figure])
        for row in rows
        if row.of == "text" and (row.category, row.figure) in sounds
    ]
    return [(t, s) for t, s in pairs if t.value is not None and s.value is not None]


def title_of(figure: str, measures: Sequence[str]) -> str:
    """Return a figure's title, with what measured it where that makes a difference."""
    by = [name.partition(":")[2] for name in measures if name.startswith(f"{figure}:")]
    return f"{FIGURES[figure].title} ({by[0]})" if by else FIGURES[figure].title


def number(value: float | None) -> str:
    """Return a figure for a table."""
    return "-" if value is None else f"{value:.2f}"


def between(row: FigureRow) -> str:
    """Return an interval for a table."""
    return "-" if row.low is None or row.high is None else f"{row.low:.2f} to {row.high:.2f}"


def _summary(report: Mapping[str, Any]) -> str:
    parts = [
        f"{report['items']} items: {report['answered']} answered, {report['failed']} failed (they"
        f" count as the lowest), {report['missing_sounds']} without their sound and"
        f" {report['broken_rows']} broken rows (they do not count)."
    ]
    parts.append(
        f"Sounds heard by {report['recognizer']}."
        if report["recognizer"]
        else "Nobody heard the sounds."
    )
    if report["judge"]:
        parts.append(f"Judged by {report['judge']}; figures of other judges do not compare.")
    if report["measures"]:
        parts.append(f"Measured: {', '.join(report['measures'])}.")
    for key, what in (("first_audio_ms", "First sound, ms"), ("rtf", "Real-time factor")):
        if spread := report[key]:
            parts.append(f"{what}: median {spread['p50']:g}, 95th percentile {spread['p95']:g}.")
    return " ".join(parts)


def _spread(values: Sequence[float | None]) -> dict[str, float] | None:
    found = percentiles([value for value in values if value is not None])
    if found is None:
        return None
    named = {"p50": found.p50, "p95": found.p95, "max": found.worst}
    return {**{name: round(value, 3) for name, value in named.items()}, "n": found.count}


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())[:160]


def read_report(folder: Path) -> dict[str, Any]:
    """Return the report of a run. Raises InputError: it has none."""
    return read_object(folder / REPORT, max_bytes=64 << 20)
