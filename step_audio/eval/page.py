"""Pages of runs: figures as plots, and failures to listen to, in one HTML file beside the sounds.

Everything that is shown came from outside, so all of it is escaped and no script runs.
"""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from step_audio.core.audio import write_wav
from step_audio.core.errors import StepAudioError
from step_audio.core.json_lines import read_rows
from step_audio.data.plots import histogram, intervals
from step_audio.eval.report import ITEMS, between, differences, number, title_of
from step_audio.eval.runs import Run, file_name
from step_audio.eval.scores.marks import FIGURES, FigureRow

LISTED: Final = 60
"""Most failures of a page."""
_BEST: Final = {
    "similarity": 1.0,
    "dnsmos": 5.0,
    "rating": 5.0,
    "chat": 5.0,
    "rating10": 10.0,
    "reasoning": 5.0,
    "uro": 100.0,
}
_BEST_MOS: Final = 5.0
_ASIDE: Final = frozenset({"consistency", "similarity", "dnsmos"})
_STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
  color: #1d1d1f; background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #ddd; text-align: left;
  vertical-align: top; }
th { background: #f3f5f8; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
svg { max-width: 40rem; display: block; margin: .6rem 0; }
audio { height: 2rem; width: 15rem; }
.bad { color: #a4262c; } .note { color: #555; }
@media (prefers-color-scheme: dark) { body { color: #eee; background: #16181c; }
  th { background: #262a31; } th, td { border-color: #3a3f47; } .note { color: #aaa; }
  .bad { color: #ff8a8a; } }
"""


def page(title: str, body: Sequence[str]) -> str:
    """Return a whole HTML page without a script."""
    csp = "default-src 'none'; style-src 'unsafe-inline'; media-src 'self' file: data:"
    return (
        "<!doctype html>\n<html lang=en><meta charset=utf-8>"
        f'<meta http-equiv="Content-Security-Policy" content="{csp}">'
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>\n<h1>{html.escape(title)}</h1>\n"
        + "\n".join(body)
        + "\n</html>\n"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: frozenset[int]) -> str:
    """Return an HTML table of escaped cells; columns of `numbers` are set to the right."""
    lines = ["<table><tr>", *(f"<th>{name}</th>" for name in head), "</tr>"]
    for row in rows:
        cells = [
            f'<td class="n">{cell}</td>' if at in numbers else f"<td>{cell}</td>"
            for at, cell in enumerate(row)
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "".join([*lines, "</table>"])


def badness(row: Mapping[str, Any]) -> float:
    """Return how badly an item went by its worst mark, 0 (well) to 1.

    A sound that says something else than its text is none where the answer is marked as well.
    """
    if row["error"]:
        return 1.0
    worst = 0.0
    marked = any(mark[0] not in _ASIDE for mark in row["marks"])
    for figure, _, got, out_of, invalid in row["marks"]:
        if invalid or not out_of or (marked and figure in _ASIDE):
            continue
        if FIGURES[figure].higher_is_better:
            worst = max(worst, 1.0 - got / out_of / _BEST.get(figure, 1.0))
        else:
            worst = max(worst, min(1.0, got / out_of))
    return worst


def write_page(run: Run, report: Mapping[str, Any]) -> Path:
    """Write page.html of a run, and the sounds of the questions that it lists; return its path."""
    rows = sorted(read_rows(run.folder / ITEMS), key=badness, reverse=True)
    failures = [row for row in rows if badness(row) > 0][:LISTED]
    questions = _questions(run, [row["id"] for row in failures])
    figures = [FigureRow(**row) for row in report["figures"]]
    body = [_facts(report), "<h2>Figures</h2>", _figures(figures, report), *plots(figures)]
    first_ms = [row["first_audio_ms"] for row in run.answers().values() if row["first_audio_ms"]]
    if first_ms:
        first_s = [ms / 1000 for ms in first_ms]
        body.append(histogram(first_s, "First sound after the question", "seconds"))
    body.append(f"<h2>Failures: the worst {len(failures)} of {len(rows)} items</h2>")
    body.append(_failures(failures, questions))
    out = run.folder / "page.html"
    out.write_text(page(f"{report['title']}: {report['examinee']}", body), encoding="utf-8")
    return out


def plots(rows: Sequence[FigureRow]) -> list[str]:
    """Return a plot for each figure of the set as a whole and of its categories."""
    drawn = []
    for figure in dict.fromkeys(row.figure for row in rows):
        shown = [row for row in rows if row.figure == figure and row.value is not None]
        lines = [
            (f"{row.category}, {row.of}", row.value, row.low, row.high)
            for row in shown
            if row.value is not None and row.low is not None and row.high is not None
        ]
        if lines:
            low, high = axis(figure, [line[3] for line in lines])
            drawn.append(intervals(lines, FIGURES[figure].title, low, high))
    return drawn


def axis(figure: str, highest: Sequence[float]) -> tuple[float, float]:
    """Return the ends of a figure's axis."""
    if figure == "similarity":
        return 0.0, 1.0
    if figure in ("rating", "chat", "dnsmos"):
        return 1.0, _BEST_MOS
    return 0.0, max(100.0, *highest) if FIGURES[figure].higher_is_better else max(
        highest
    ) * 1.05 or 1.0


def player(source: str) -> str:
    """Return a player of a sound beside the page, "" for none."""
    return f'<audio controls preload=none src="{html.escape(source)}"></audio>' if source else ""


def beside(path: Path, page_folder: Path) -> str:
    """Return the address of a file as seen from a page's folder."""
    return Path(os.path.relpath(path, page_folder)).as_posix()


def _facts(report: Mapping[str, Any]) -> str:
    shown = {
        "items": report["items"],
        "answered": report["answered"],
        "failed (count as the lowest)": report["failed"],
        "without their sound": report["missing_sounds"],
        "broken rows": report["broken_rows"],
        "recogniser": report["recognizer"] or "none",
        "judge": report["judge"] or "none",
    }
    rows = [[html.escape(key), html.escape(str(value))] for key, value in shown.items()]
    return table(("", ""), rows, frozenset())


def _figures(rows: Sequence[FigureRow], report: Mapping[str, Any]) -> str:
    apart = {(t.category, t.figure): s for t, s in differences(rows)}
    cells = []
    for row in rows:
        pair = apart.get((row.category, row.figure)) if row.of == "text" else None
        lost = ""
        if pair is not None and pair.value is not None and row.value is not None:
            lost = f"{pair.value - row.value:+.2f}"
        title = html.escape(title_of(row.figure, report["measures"]))
        shown = [html.escape(row.category), title, row.of, number(row.value), between(row)]
        cells.append([*shown, str(row.count), str(row.invalid), lost])
    head = ("category", "figure", "of", "value", "95 %", "n", "invalid", "sound less text")
    return table(head, cells, frozenset({3, 4, 5, 6, 7}))


def _failures(rows: Sequence[Mapping[str, Any]], questions: Mapping[str, str]) -> str:
    cells = []
    for row in rows:
        asked = html.escape(row["question"]) or '<span class="note">(spoken)</span>'
        right = html.escape("; ".join(row["reference"])[:400])
        said = html.escape(" / ".join(str(text) for text in row["texts"])[:600])
        calls = html.escape("; ".join(f"{name} {text}" for name, text in row["calls"])[:200])
        heard = (
            f"<br><span class=note>heard: {html.escape(row['heard'])}</span>"
            if row["heard"]
            else ""
        )
        error = (
            f'<br><span class="bad">{html.escape(row["error"][:300])}</span>'
            if row["error"]
            else ""
        )
        took = f"<br><span class=note>took it for: {html.escape(row['transcript'])}</span>"
        marks = "<br>".join(
            html.escape(f"{figure}, {of}: {'invalid' if bad else f'{got:g} of {out_of:g}'}")
            for figure, of, got, out_of, bad in row["marks"]
        )
        cells.append(
            [
                f"{html.escape(row['id'])}<br>{_note(row['category'])}",
                f"{asked}<br>{player(questions.get(row['id'], ''))}",
                right,
                f"{said}{f'<br>{calls}' if calls else ''}<br>{player(row['sound'])}{heard}"
                f"{took if row['transcript'] else ''}{error}",
                marks,
            ]
        )
    return table(("item", "question", "right", "answer", "marks"), cells, frozenset())


def _note(text: str) -> str:
    return f"<span class=note>{html.escape(text)}</span>"


def _questions(run: Run, wanted: Sequence[str]) -> dict[str, str]:
    """Write the sounds of questions once; return their addresses by item."""
    folder = run.folder / "questions"
    folder.mkdir(exist_ok=True)
    items = {item.id: item for item in run.items}
    found = {}
    for name in wanted:
        sound = items[name].turns[-1].sound if name in items else None
        path = folder / f"{file_name(name)}.wav"
        try:
            if sound is not None and not path.is_file():
                write_wav(path, *sound.read())
        except StepAudioError:
            continue
        if path.is_file():
            found[name] = f"questions/{path.name}"
    return found
