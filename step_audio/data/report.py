"""A data set in figures: how much, from whom, what was rejected and why, how scores are spread."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from step_audio.core.errors import InputError
from step_audio.core.json_lines import read_rows
from step_audio.data.filter import read_scores
from step_audio.data.gates import ALL
from step_audio.data.manifest import SpokenUtterance, read_lines, read_utterances
from step_audio.data.plots import bars, histogram

PLOTTED = ("level_db", "speech", "error_rate", "dnsmos")
EXAMPLES = 20


def report(root: Path) -> Path:
    """Write `report/`: report.md, report.json and a plot a file; return the Markdown.

    Raises:
        InputError: the data set holds no utterance.
    """
    utterances = read_utterances(root)
    if not utterances:
        raise InputError(f"{root} holds no utterance; run data speak or data segment first")
    out = root / "report"
    out.mkdir(exist_ok=True)
    scores = read_scores(root, utterances)
    verdicts = {row["id"]: row for row in read_rows(root / "verdicts.jsonl")}
    facts = _facts(root, utterances, verdicts)
    plots = _plots(utterances, scores, facts["rejected"])
    for name, svg in plots.items():
        (out / f"{name}.svg").write_text(svg, encoding="utf-8")
    (out / "report.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    page = out / "report.md"
    page.write_text(_markdown(root.name, facts, list(plots)), encoding="utf-8")
    return page


def _facts(
    root: Path, utterances: Sequence[SpokenUtterance], verdicts: Mapping[str, Any]
) -> dict[str, Any]:
    passed = [u for u in utterances if verdicts.get(u.id, {}).get("passed")]
    rejected: Counter[str] = Counter()
    examples: list[dict[str, str]] = []
    known = {u.id: u for u in utterances}
    for name, verdict in verdicts.items():
        rejected.update(reason["gate"] for reason in verdict["rejected"])
        if verdict["rejected"] and len(examples) < EXAMPLES and name in known:
            why = "; ".join(reason["reason"] for reason in verdict["rejected"])
            examples.append({"id": name, "text": known[name].text, "why": why})
    said = {u.id for u in utterances}
    failures = {row["id"]: row["reason"] for row in read_rows(root / "failures.jsonl")}
    # Tried again, a line has a row a time; what was said in the end is no failure.
    failures = {name: reason for name, reason in failures.items() if name not in said}
    return {
        "lines": len(read_lines(root)),
        "utterances": len(utterances),
        "hours": round(sum(u.seconds for u in utterances) / 3600, 3),
        "scored": len(verdicts),
        "passed": len(passed),
        "passed_hours": round(sum(u.seconds for u in passed) / 3600, 3),
        "not_said": len(failures),
        "not_said_why": dict(Counter(why[:80] for why in failures.values()).most_common(10)),
        "rejected": dict(rejected.most_common()),
        "speakers": dict(Counter(u.speaker for u in utterances).most_common()),
        "languages": dict(Counter(u.language for u in utterances).most_common()),
        "tags": dict(Counter(u.tags.prefix() or "plain" for u in utterances).most_common()),
        "licences": dict(Counter(str(u.source.get("licence", "not named")) for u in utterances)),
        "tasks": dict(Counter(row["task"] for row in read_rows(root / "samples.jsonl"))),
        "examples": examples,
    }


def _plots(
    utterances: Sequence[SpokenUtterance], scores: Mapping[str, Any], rejected: Mapping[str, int]
) -> dict[str, str]:
    plots = {"seconds": histogram([u.seconds for u in utterances], "Length", "seconds")}
    if rejected:
        plots["rejections"] = bars(rejected, "Rejections by gate")
    for name in PLOTTED:
        values = [row[name] for row in scores.values() if row.get(name) is not None]
        if values:
            bound = ALL[name].low if ALL[name].low is not None else ALL[name].high
            plots[name] = histogram(values, ALL[name].says.capitalize(), name, bound)
    speakers = Counter(u.speaker for u in utterances).most_common(20)
    plots["speakers"] = bars(dict(speakers), "Utterances by speaker")
    return plots


def _markdown(name: str, facts: Mapping[str, Any], plots: Sequence[str]) -> str:
    share = facts["passed"] / facts["scored"] if facts["scored"] else float("nan")
    lines = [
        f"# Data set {name}",
        "",
        f"{facts['utterances']} utterances, {facts['hours']} h; {facts['scored']} judged,"
        f" {facts['passed']} passed ({share:.0%}, {facts['passed_hours']} h);"
        f" {facts['not_said']} lines could not be said.",
        "",
    ]
    for title in ("rejected", "not_said_why", "tasks", "languages", "tags", "licences", "speakers"):
        rows = facts[title]
        if rows:
            lines += [
                f"## {title.replace('_', ' ').capitalize()}",
                "",
                "| what | count |",
                "|---|---|",
            ]
            lines += [f"| {_cell(key)} | {count} |" for key, count in rows.items()]
            lines.append("")
    lines += ["## Plots", "", *(f"![{plot}]({plot}.svg)" for plot in plots), ""]
    if facts["examples"]:
        lines += ["## Some rejections", "", "| text | why |", "|---|---|"]
        lines += [f"| {_cell(e['text'])} | {_cell(e['why'])} |" for e in facts["examples"]]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(str(text).replace("|", "\\|").split())[:120]
