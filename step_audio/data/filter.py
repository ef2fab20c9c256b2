"""Who may be learned from: each utterance measured once, judged by bounds, rejections explained."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from step_audio.core.errors import InputError
from step_audio.core.json_lines import RowWriter, read_rows, write_rows
from step_audio.data.cluster import Cluster
from step_audio.data.gates import ALL, Bounds, Scores, UtteranceGate, reasons
from step_audio.data.manifest import SpokenUtterance, read_utterances

MakeGate = Callable[[], UtteranceGate]
"""Builds a gate in the process that will use it; must be picklable for more than one."""

_gate: UtteranceGate | None = None


def measure(
    root: Path,
    make: MakeGate,
    *,
    workers: int = 1,
    cluster: Cluster | None = None,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] = lambda rows, total: rows,
) -> int:
    """Score the utterances that have no score yet; return how many there were.

    Args:
        root: the data set.
        make: builds what measures.
        workers: processes.
        cluster: measures in their place.
        progress: wraps the rows as they come, for a bar.
    """
    utterances = read_utterances(root)
    # What could not be read may have been put right since.
    known = {name for name, row in read_scores(root, utterances).items() if "unreadable" not in row}
    waiting = [u for u in utterances if u.id not in known]
    with RowWriter(root / "scores.jsonl") as rows:
        scored = (
            _scored(root, make, waiting, workers)
            if cluster is None
            else cluster.map(functools.partial(_scorer, root.absolute(), make), waiting)
        )
        for row in progress(scored, len(waiting)):
            rows.add(row)
    return len(waiting)


def read_scores(root: Path, utterances: Sequence[SpokenUtterance]) -> dict[str, Scores]:
    """Return the scores of those utterances that were measured as they sound now, by id.

    Rows that somebody added to `scores.jsonl`, {"id", "error_rate"} or the like, count in the place
    of what was measured, wherever they stand; they measure nothing else.
    """
    measured: dict[str, Scores] = {}
    added: dict[str, Scores] = {}
    for row in read_rows(root / "scores.jsonl"):
        if "seconds" in row or "unreadable" in row:
            measured[row["id"]] = row
        else:
            added.setdefault(row["id"], {}).update(row)
    return {
        u.id: {**measured[u.id], **added.get(u.id, {})}
        for u in utterances
        if u.id in measured and measured[u.id].get("sha256", u.sha256) == u.sha256
    }


def _scored(
    root: Path, make: MakeGate, waiting: list[SpokenUtterance], workers: int
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


def _score_here(job: tuple[Path, SpokenUtterance]) -> dict[str, Any]:
    assert _gate is not None
    return _score(_gate, *job)


def _scorer(root: Path, make: MakeGate) -> Callable[[SpokenUtterance], dict[str, Any]]:
    """Return what scores utterances in a process of a cluster."""
    return functools.partial(_score, make(), root)


def _score(gate: UtteranceGate, root: Path, utterance: SpokenUtterance) -> dict[str, Any]:
    row = {"id": utterance.id, "sha256": utterance.sha256}
    try:
        return {**row, **gate.measure(utterance, *utterance.read(root))}
    except InputError as error:
        # One lost or altered file is a rejection, not the end of all work.
        return {**row, "unreadable": str(error).replace(f"{root}/", "")}


def judge(root: Path, bounds: Bounds = ALL) -> Counter[str]:
    """Write `verdicts.jsonl` for all scored utterances; return how many each gate rejected.

    The key "passed" counts those that nothing speaks against. Of equal sounds the first passes.

    Raises:
        InputError: nothing is scored.
    """
    utterances = read_utterances(root)
    scores = read_scores(root, utterances)
    if not scores:
        raise InputError(f"{root} has no scores; run data filter first")
    seen: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    verdicts = []
    for utterance in utterances:
        if utterance.id not in scores:
            continue
        found = reasons({**scores[utterance.id], "copies": seen[utterance.sha256]}, bounds)
        seen[utterance.sha256] += 1
        counts.update([reason["gate"] for reason in found] or ["passed"])
        verdicts.append({"id": utterance.id, "passed": not found, "rejected": found})
    write_rows(root / "verdicts.jsonl", verdicts)
    return counts


def accepted(root: Path, bounds: Bounds) -> list[SpokenUtterance]:
    """Return the scored utterances that pass other bounds than those of `verdicts.jsonl`."""
    utterances = read_utterances(root)
    scores = read_scores(root, utterances)
    seen: set[str] = set()
    passed = []
    for utterance in utterances:
        known = scores.get(utterance.id)
        if known is None:
            continue
        copies = int(utterance.sha256 in seen)
        seen.add(utterance.sha256)
        if not reasons({**known, "copies": copies}, bounds):
            passed.append(utterance)
    return passed
