"""Recordings into utterances: cut where somebody pauses, with text when somebody writes it down.

Each recording is cut once, whoever is told to stop when; `recordings.jsonl` says which are done,
and why one could not be read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from step_audio.core.audio import read_audio
from step_audio.core.errors import InputError
from step_audio.core.json_lines import RowWriter, read_rows
from step_audio.core.ports import TurnDetector
from step_audio.core.types import Pcm
from step_audio.data.manifest import SpokenUtterance, content_id, read_utterances, sound_hash, store
from step_audio.data.segment import Cuts, Span, plan_cuts, speech_spans

MARGIN_MS: Final = 120
"""Kept before and after the speech of a segment."""

LONGEST_S: Final = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose recordings they are.

    Attributes:
        speaker: name under which the voice is kept.
        licence: goes into the provenance of every segment.
    """

    speaker: str
    licence: str
    language: str = "en"


class Cutter:
    """Cuts recordings; one instance a process.

    Args:
        detector: hears where somebody speaks.
        transcribe: writes down what is said; without it segments have no text.
        cuts: how long segments are.
    """

    def __init__(
        self,
        detector: TurnDetector,
        transcribe: Callable[[Pcm, int], str] | None = None,
        cuts: Cuts | None = None,
    ) -> None:
        self._detector, self._transcribe = detector, transcribe
        self.cuts = cuts or Cuts()

    def cut(self, root: Path, path: Path, origin: Origin) -> list[dict[str, Any]]:
        """Store the segments of a recording and return their rows of `utterances.jsonl`.

        Raises:
            InputError: it cannot be read, or its text is no UTF-8.
        """
        pcm, rate_hz = read_audio(path, LONGEST_S)
        whole = sound_hash(pcm)
        text = _text_beside(path)
        spans: list[Span] = [(0, len(pcm) * 1000 // rate_hz)]
        if text is None:
            spans = plan_cuts(speech_spans(self._detector, pcm, rate_hz), self.cuts)
        rows = []
        for start, end in spans:
            first = max(0, start - MARGIN_MS) * rate_hz // 1000
            part = pcm[first : (end + MARGIN_MS) * rate_hz // 1000]
            words, by = "", "nobody"
            if text is not None:
                words, by = text, "transcript"
            elif self._transcribe is not None:
                words, by = self._transcribe(part, rate_hz), "recogniser"
            source = {
                "recording": path.name,
                "recording_sha256": whole,
                "span_ms": [start, end],
                "text": {"by": by},
                "licence": origin.licence,
            }
            name = content_id(whole, start, end)
            utterance = SpokenUtterance(
                name, words, "", "", 0.0, origin.speaker, origin.language, source=source
            )
            rows.append(store(root, utterance, part, rate_hz).row())
        return rows


MakeCutter = Callable[[], Cutter]
"""Builds a cutter in the process that will use it; must be picklable for more than one."""


def segment(
    root: Path,
    recordings: Sequence[Path],
    make: MakeCutter,
    origin: Origin,
    *,
    workers: int = 1,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] = lambda rows, total: rows,
) -> tuple[int, int]:
    """Add the segments of recordings to a data set; return how many are new, and how many
    recordings could not be read: those are tried again by the next call.

    Args:
        root: the data set.
        recordings: sound files. One with a `.txt` beside it is a single utterance of that text.
        make: builds what cuts.
        origin: of all the recordings.
        workers: processes; each holds a whole recording.
        progress: wraps the recordings as they are done, for a bar.
    """
    known = {utterance.id for utterance in read_utterances(root)}
    rows = read_rows(root / "recordings.jsonl")
    done = frozenset(row["id"] for row in rows if "unreadable" not in row)
    added = failed = 0
    with (
        RowWriter(root / "utterances.jsonl") as utterances,
        RowWriter(root / "recordings.jsonl") as finished,
    ):
        work = _Work(root, make, origin, done)
        for row, made in progress(_cut_all(work, recordings, workers), len(recordings)):
            for utterance in made:
                if utterance["id"] not in known:
                    known.add(utterance["id"])
                    utterances.add(utterance)
                    added += 1
            failed += "unreadable" in row
            # Last: a recording that is done has all its segments on disk.
            if row["id"] not in done:
                finished.add(row)
    return added, failed


@dataclass
class _Work:
    """What one process needs for all recordings."""

    root: Path
    make: MakeCutter
    origin: Origin
    done: frozenset[str]
    cutter: Cutter | None = None

    def cut(self, path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return the row of `recordings.jsonl` and those of the segments, none if it is done."""
        row: dict[str, Any] = {"id": "", "recording": path.name}
        try:
            if self.cutter is None:
                self.cutter = self.make()
            row["id"] = content_id(_file_hash(path), _text_beside(path), asdict(self.cutter.cuts))
            if row["id"] in self.done:
                return row, []
            made = self.cutter.cut(self.root, path, self.origin)
        except InputError as error:
            # One broken file is no end of all work.
            return {**row, "unreadable": str(error)}, []
        return {**row, "segments": len(made)}, made


_work: _Work | None = None


def _cut_all(
    work: _Work, recordings: Sequence[Path], workers: int
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    if workers == 1 or len(recordings) < 2:
        yield from map(work.cut, recordings)
        return
    # A fresh interpreter each: onnxruntime does not survive a fork.
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start, (work,)) as pool:
        yield from pool.map(_cut_here, recordings)


def _start(work: _Work) -> None:
    global _work  # noqa: PLW0603 - one a process, set by its initialiser
    _work = work


def _cut_here(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    assert _work is not None
    return _work.cut(path)


def _text_beside(path: Path) -> str | None:
    text = path.with_suffix(".txt")
    try:
        return text.read_text(encoding="utf-8").strip() if text.is_file() else None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {text}: {error}") from None


def _file_hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
