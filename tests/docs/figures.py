"""Measurements that the documents quote, and the tables and the plot made of them.

Each line of docs/figures.jsonl is what one command printed, with date, machine and commit. Lines
of the same measurement replace each other.

Run: make figures    takes build/figures/*.jsonl and build/gpu/*.jsonl, and writes docs/figures.md
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from step_audio.data.plots import grouped_bars, waterfall
from tests.bench.peers.machine import where_and_when

ROOT: Final = Path(__file__).parents[2]
KEPT: Final = ROOT / "docs" / "figures.jsonl"
PLOT: Final = ROOT / "docs" / "peers.svg"
TIMELINE: Final = ROOT / "docs" / "nano-turn.svg"
SAME: Final = (
    "bench",
    "way",
    "profile",
    "device",
    "precision",
    "streams",
    "sessions",
    "speculate",
    "together",
)
"""What tells one measurement from another."""
TAKEN: Final = ("peers", "streams", "graphs", "load.callers", "load.overhead_ms", "timeline")
STAGES: Final = {
    "ear": "the rest of the question becomes codes",
    "prompt": "the model reads it, to its first id",
    "transcript": "it writes down what it heard",
    "words": "words and codes of the first chunk",
    "vocoder": "the first chunk becomes sound",
    "wait": "it waits, lest a gap follows",
}
"""Of a turn, as tests.bench.timeline names them."""
WAYS: Final = {
    "whole": "Whisper base, chat, Kokoro, one after the other",
    "sentences": "the same, by sentences",
    "local-chat": "ours: `local-chat`",
    "nano": "ours: `nano`",
}

Line = dict[str, Any]


def read(path: Path) -> list[Line]:
    """Return the measurements of a file; lines that are none are passed over."""
    found = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and line.get("bench") in TAKEN:
            found.append(line)
    return found


def merged(old: Iterable[Line], new: Iterable[Line]) -> list[Line]:
    """Return all measurements in a fixed order, the newest of each."""
    by_name = {_name(line): line for line in (*old, *new)}
    return [by_name[name] for name in sorted(by_name)]


def _name(line: Line) -> str:
    return json.dumps([line.get(key) for key in SAME])


def of(bench: str, lines: Iterable[Line] | None = None) -> list[Line]:
    """Return the measurements of one benchmark."""
    kept = read(KEPT) if lines is None and KEPT.exists() else list(lines or ())
    return [line for line in kept if line["bench"] == bench]


def peers_rows() -> list[tuple[str, ...]]:
    """Return the table of `make bench-peers`."""
    by_way = {line["way"]: line for line in of("peers")}
    return [
        (
            about,
            f"{line['first_s']:.2f} s",
            f"{line['total_s']:.2f} s",
            f"{line['sound_s']:.1f} s",
            f"{line['cpu_s']:.1f} s",
            f"{line['memory_mb']} MB",
            f"{100 * line['words_right']:.0f} %",
        )
        for way, about in WAYS.items()
        if (line := by_way.get(way))
    ]


def streams_rows() -> list[tuple[str, ...]]:
    """Return the table of streams on a GPU."""
    return [
        (
            line["device"],
            line["precision"],
            str(line["streams"]),
            f"{1000 * line['first_s']:.0f} ms",
            f"{line['rtf']:.3f}",
        )
        for line in sorted(of("streams"), key=lambda line: (line["precision"], line["streams"]))
    ]


def callers_rows() -> list[tuple[str, ...]]:
    """Return the table of nano's callers, by how they ask and how many there are."""
    return [
        (
            str(line["sessions"]),
            "in the same instant" if line["together"] else "in their own time",
            "yes" if line["speculate"] else "no",
            "{p50:.0f} / {p95:.0f} ms".format_map(line["first_audio_ms"]),
            "{p50:.0f} / {p95:.0f} ms".format_map(line["after_decision_ms"]),
            f"{line['underruns']} in {line['answered']}",
            f"{line['rtf']['p95']:.2f}",
        )
        for line in sorted(
            of("load.callers"),
            key=lambda one: (not one["speculate"], one["together"], one["sessions"]),
        )
    ]


def timeline_rows() -> list[tuple[str, ...]]:
    """Return the stages of nano's turn, in their order."""
    return [
        (what, f"{line['stages_ms'][stage]:.0f} ms", f"{line['p95_ms'][stage]:.0f} ms")
        for line in of("timeline")
        for stage, what in STAGES.items()
    ]


def made_at(bench: str) -> str:
    """Return in words when, where and of which commit a benchmark was run."""
    lines = of(bench)
    if not lines:
        return "Not measured yet.\n"
    last = max(lines, key=lambda line: str(line.get("date", "")))
    loads = [line["load"] for line in lines if "load" in line]
    load = f", load {min(loads):g} to {max(loads):g}" if loads else ""
    runs = (
        f", {last['runs']} runs of {last['turns'] // last['runs']} questions"
        if "runs" in last
        else ""
    )
    return (
        f"{last['date']}, {last['cores']} cores of {last['machine']}{load}{runs},"
        f" commit {last['commit']}.\n"
    )


def timeline_plot() -> str:
    """Return the plot of a turn's stages, one after the other."""
    (line,) = of("timeline")
    return waterfall(
        {what: line["stages_ms"][stage] for stage, what in STAGES.items()},
        "nano: from the end of the question to the first sound, ms",
    )


def plot() -> str:
    """Return the plot of the peers."""
    rows = {line["way"]: line for line in of("peers")}
    ways = [way for way in WAYS if way in rows]
    return grouped_bars(
        {
            "first sound, s": {way: rows[way]["first_s"] for way in ways},
            "whole answer, s": {way: rows[way]["total_s"] for way in ways},
            "CPU, s": {way: rows[way]["cpu_s"] for way in ways},
        },
        "One spoken question, from its end",
    )


def take(folders: Sequence[Path]) -> int:
    """Add what the benchmarks left in folders; return how many lines there were."""
    new: list[Line] = []
    for folder in folders:
        for path in sorted(folder.glob("*.jsonl")):
            new += [where_and_when() | line for line in read(path)]
    old = read(KEPT) if KEPT.exists() else []
    text = "".join(json.dumps(line) + "\n" for line in merged(old, new))
    KEPT.write_text(text, encoding="utf-8")
    if of("peers"):
        PLOT.write_text(plot(), encoding="utf-8")
    if of("timeline"):
        TIMELINE.write_text(timeline_plot(), encoding="utf-8")
    return len(new)


def main() -> int:
    """Take measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--take", type=Path, nargs="+", required=True, metavar="FOLDER")
    count = take(parser.parse_args().take)
    print(f"{count} lines taken into {KEPT.relative_to(ROOT)}")
    return 0 if count else 1


if __name__ == "__main__":
    sys.exit(main())
