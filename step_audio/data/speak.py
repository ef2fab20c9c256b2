"""Lines into utterances: said in parallel, each once, with the reason when nobody can say it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from step_audio.core.audio import check_sound
from step_audio.core.errors import StepAudioError
from step_audio.core.json_lines import RowWriter, read_rows
from step_audio.data.manifest import Line, Utterance, read_lines, read_utterances, store
from step_audio.data.readers import Reader


def speak(
    root: Path,
    reader: Reader,
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
    """
    done = {utterance.id for utterance in read_utterances(root)}
    failed = set() if again else {row["id"] for row in read_rows(root / "failures.jsonl")}
    waiting = [line for line in read_lines(root) if line.id not in done | failed]
    counts = [0, 0]
    lock = threading.Lock()
    with (
        RowWriter(root / "utterances.jsonl") as said,
        RowWriter(root / "failures.jsonl") as failures,
        ThreadPoolExecutor(workers, thread_name_prefix="speak") as pool,
    ):

        def say(line: Line) -> None:
            try:
                said.add(_say(root, reader, line).row())
            except StepAudioError as error:
                failures.add({"id": line.id, "text": line.text, "reason": str(error)})
                with lock:
                    counts[1] += 1
            else:
                with lock:
                    counts[0] += 1

        # An unforeseen error of any line ends the step here, with what was said kept.
        futures = [pool.submit(say, line) for line in waiting]
        for future in progress(futures, len(futures)):
            future.result()
    return counts[0], counts[1]


def _say(root: Path, reader: Reader, line: Line) -> Utterance:
    made = reader.read(line)
    check_sound(made.pcm, f"what {made.speaker} said")
    utterance = Utterance(
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
