"""Who may be learned from: each utterance measured once, judged by bounds, rejections explained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from step_audio.core.errors import InputError
from step_audio.core.json_lines import RowWriter, read_rows, write_rows
from step_audio.data.gates import ALL, Bounds, Gate, reasons
from step_audio.data.manifest import Utterance, read_utterances

MakeGate = Callable[[], Gate]
"""Builds a gate in the process that will use it; must be picklable for more than one."""

_gate: Gate | None = None


def measure(
    root: Path,
    make: MakeGate,
    *,
    workers: int = 1,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] = lambda rows, total: rows,
) -> int:
    """Score the utterances that have no score yet; return how many there were.

    Args:
        root: the data set.
        make: builds what measures.
        workers: processes.
        progress: wraps the rows as they come, for a bar.
    """
    # What could not be read may have been put right since.
    rows_before = read_rows(root / "scores.jsonl")
    known = {row["id"] for row in rows_before if "unreadable" not in row}
    waiting = [u for u in read_utterances(root) if u.id not in known]
    with RowWriter(root / "scores.jsonl") as rows:
        for row in progress(_scored(root, make, waiting, workers), len(waiting)):
            rows.add(row)
    return len(waiting)


def _scored(
    root: Path, make: MakeGate, waiting: list[Utterance], workers: int
) -> Iterator[dict[str, Any]]:
    if workers == 1 or len(waiting) < 2:
        gate = make() if waiting else None
        for utterance in waiting:
            assert gate is not None
            yield _score(gate, root, utterance)
        return
    # A fresh interpreter each: the recogniser and onnxruntime do not survive a fork.
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start, (make,)) as pool:
        yield from pool.map(_score_here, [(root, u) for u in waiting], chunksize=4)


def _start(make: MakeGate) -> None:
    global _gate  # noqa: PLW0603 - one a process, made by its initialiser
    _gate = make()


def _score_here(job: tuple[Path, Utterance]) -> dict[str, Any]:
    assert _gate is not None
    return _score(_gate, *job)


def _score(gate: Gate, root: Path, utterance: Utterance) -> dict[str, Any]:
    try:
        return {"id": utterance.id, **gate.measure(utterance, *utterance.read(root))}
    except InputError as error:
        # One lost or altered file is a rejection, not the end of all work.
        return {"id": utterance.id, "unreadable": str(error).replace(f"{root}/", "")}


def judge(root: Path, bounds: Bounds = ALL) -> Counter[str]:
    """Write `verdicts.jsonl` for all scored utterances; return how many each gate rejected.

    The key "passed" counts those that nothing speaks against. Of equal sounds the first passes.

    Raises:
        InputError: nothing is scored.
    """
    scores = {row["id"]: row for row in read_rows(root / "scores.jsonl")}
    if not scores:
        raise InputError(f"{root} has no scores; run data filter first")
    seen: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    verdicts = []
    for utterance in read_utterances(root):
        if utterance.id not in scores:
            continue
        found = reasons({**scores[utterance.id], "copies": seen[utterance.sha256]}, bounds)
        seen[utterance.sha256] += 1
        counts.update([reason["gate"] for reason in found] or ["passed"])
        verdicts.append({"id": utterance.id, "passed": not found, "rejected": found})
    write_rows(root / "verdicts.jsonl", verdicts)
    return counts


def accepted(root: Path, bounds: Bounds) -> list[Utterance]:
    """Return the scored utterances that pass other bounds than those of `verdicts.jsonl`."""
    scores = {row["id"]: row for row in read_rows(root / "scores.jsonl")}
    seen: set[str] = set()
    passed = []
    for utterance in read_utterances(root):
        known = scores.get(utterance.id)
        if known is None:
            continue
        copies = int(utterance.sha256 in seen)
        seen.add(utterance.sha256)
        if not reasons({**known, "copies": copies}, bounds):
            passed.append(utterance)
    return passed
