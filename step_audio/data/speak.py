"""Lines into utterances: said in parallel, each once, with the reason when nobody can say it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from step_audio.core.audio import check_sound
from step_audio.core.errors import StepAudioError
from step_audio.core.json_lines import RowWriter, read_rows
from step_audio.data.cluster import Cluster
from step_audio.data.llm import EndpointError
from step_audio.data.manifest import SpokenUtterance, TextLine, read_lines, read_utterances, store
from step_audio.data.readers import LineReader

LOST_IN_A_ROW: Final = 20
"""Lines that an endpoint may fail at, one after another, before it counts as down."""


def speak(
    root: Path,
    reader: LineReader,
    *,
    workers: int = 2,
    again: bool = False,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] = lambda rows, total: rows,
) -> tuple[int, int]:
    """Say what is not said yet; return how many lines were said and how many failed.

    Args:
        root: the data set.
        reader: who says it.
        workers: lines at a time.
        again: also try those that failed before.
        progress: wraps the lines as they are done, for a bar.

    Raises:
        EndpointError: the endpoint is down; its lines are tried again by the next call.
    """
    waiting = _waiting(root, again=again)
    counts = [0, 0]
    lost = 0
    lock, ended = threading.Lock(), threading.Event()
    with (
        RowWriter(root / "utterances.jsonl") as said,
        RowWriter(root / "failures.jsonl") as failures,
        ThreadPoolExecutor(workers, thread_name_prefix="speak") as pool,
    ):

        def say(line: TextLine) -> None:
            nonlocal lost
            if ended.is_set():
                return
            try:
                said.add(_say(root, reader, line).row())
            except StepAudioError as error:
                row = _failure(line, error)
                down = "endpoint" in row
                failures.add(row)
                with lock:
                    counts[1] += 1
                    lost = lost + 1 if down else 0
                    if lost >= LOST_IN_A_ROW:
                        ended.set()
                        raise
            except BaseException:
                ended.set()
                raise
            else:
                with lock:
                    counts[0] += 1
                    lost = 0

        futures = [pool.submit(say, line) for line in waiting]
        try:
            for future in progress(futures, len(futures)):
                future.result()
        except BaseException:
            # An unforeseen error, or Ctrl-C, ends the step here: what was said is kept, and what
            # waits is not said first.
            pool.shutdown(cancel_futures=True)
            raise
    return counts[0], counts[1]


def speak_on(
    root: Path,
    cluster: Cluster,
    make: Callable[[], LineReader],
    *,
    again: bool = False,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] = lambda rows, total: rows,
) -> tuple[int, int]:
    """As `speak`, but on a cluster, whose processes each have a reader of their own.

    Args:
        make: builds who says it; picklable.

    Raises:
        ClusterError: the cluster was lost.
        EndpointError: the endpoint is down; its lines are tried again by the next call.
    """
    waiting = _waiting(root, again=again)
    said = failed = lost = 0
    work = functools.partial(_speaker, root.absolute(), make)
    with (
        RowWriter(root / "utterances.jsonl") as utterances,
        RowWriter(root / "failures.jsonl") as failures,
    ):
        for row in progress(cluster.map(work, waiting), len(waiting)):
            if "reason" not in row:
                utterances.add(row)
                said, lost = said + 1, 0
                continue
            failures.add(row)
            failed += 1
            lost = lost + 1 if "endpoint" in row else 0
            if lost >= LOST_IN_A_ROW:
                raise EndpointError(f"{lost} lines in a row failed: {row['reason']}")
    return said, failed


def _speaker(root: Path, make: Callable[[], LineReader]) -> Callable[[TextLine], dict[str, Any]]:
    """Return what says lines in a process of a cluster: rows of either file."""
    reader = make()

    def say(line: TextLine) -> dict[str, Any]:
        try:
            return _say(root, reader, line).row()
        except StepAudioError as error:
            return _failure(line, error)

    return say


def _waiting(root: Path, *, again: bool) -> list[TextLine]:
    """Return the lines that are to be said."""
    done = {utterance.id for utterance in read_utterances(root)}
    rows = [] if again else read_rows(root / "failures.jsonl")
    # What an endpoint failed at is no fault of the line.
    failed = {row["id"] for row in rows if not row.get("endpoint")}
    return [line for line in read_lines(root) if line.id not in done | failed]


def _failure(line: TextLine, error: StepAudioError) -> dict[str, Any]:
    """Return the row of `failures.jsonl`."""
    row: dict[str, Any] = {"id": line.id, "text": line.text, "reason": str(error)}
    return {**row, "endpoint": True} if isinstance(error, EndpointError) else row


def _say(root: Path, reader: LineReader, line: TextLine) -> SpokenUtterance:
    made = reader.read(line)
    check_sound(made.pcm, f"what {made.speaker} said")
    utterance = SpokenUtterance(
        id=line.id,
        text=line.text,
        file="",
        sha256="",
        seconds=0.0,
        speaker=made.speaker,
        language=line.language,
        tags=line.tags,
        source={"text": dict(line.source), **made.source},
    )
    return store(root, utterance, made.pcm, made.rate_hz)
