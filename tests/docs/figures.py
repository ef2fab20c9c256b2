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

from step_audio.data.plots import grouped_bars
from tests.bench.peers.machine import where_and_when

ROOT: Final = Path(__file__).parents[2]
KEPT: Final = ROOT / "docs" / "figures.jsonl"
PLOT: Final = ROOT / "docs" / "peers.svg"
SAME: Final = (
    "bench",
    "way",
    "profile",
    "device",
    "precision",
    "streams",
    "sessions",
    "speculate",
)
"""What tells one measurement from another."""
TAKEN: Final = ("peers", "streams", "graphs", "load.callers", "load.overhead_ms")
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
