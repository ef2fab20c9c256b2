"""A probe on people's own voices: recordings with transcripts, what was heard, what was answered.

A folder of sound files, each with a `.txt` of the same name that says what is spoken. Beside the
assistant, the recogniser that judges elsewhere hears the same recordings: its errors show how hard
they are. Reported without polish: the table is what there is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from step_audio.core.audio import read_audio
from step_audio.core.containers import SOUND_ENDINGS
from step_audio.core.error_rates import edits, error_rate, units
from step_audio.core.errors import InputError
from step_audio.core.json_lines import RowWriter, read_rows
from step_audio.core.types import Pcm
from step_audio.eval.examinee import Answerer, ask
from step_audio.eval.wer import in_order
from step_audio.nano.exam.grading import NOT_UNDERSTOOD

NEAR: Final = 0.25
"""Recognition errors up to which a question counts as heard."""

Hear = Callable[[Pcm, int], str]


@dataclass(frozen=True, slots=True)
class Probed:
    """One recording: what was said, what the assistant heard and answered, what others heard."""

    file: str
    speaker: str
    said: str
    heard: str
    answer: str
    calls: tuple[str, ...]
    errors: float
    recogniser: str
    recogniser_errors: float | None
    refused: bool
    first_audio_ms: float | None
    failure: str


def find(folder: Path) -> list[tuple[Path, str]]:
    """Return the recordings of a folder with what they say.

    Raises:
        InputError: none, or one without its transcript.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUND_ENDINGS)
    if not files:
        raise InputError(f"{folder} holds no wav, flac, ogg or mp3")
    missing = [path for path in files if not path.with_suffix(".txt").is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} recordings lack a transcript; the first is"
            f" {missing[0].name}: write what is said into {missing[0].with_suffix('.txt').name}"
        )
    return [(path, path.with_suffix(".txt").read_text(encoding="utf-8").strip()) for path in files]


def probe(
    folder: Path,
    answerer: Answerer,
    hear: Hear | None = None,
    *,
    max_seconds: float = 30.0,
    progress: Callable[[Sequence[Any]], Iterable[Any]] = lambda rows: rows,
    store: Path | None = None,
    model: str = "",
) -> list[Probed]:
    """Ask every recording in a conversation of its own.

    A recording that cannot be read or is too long is a row with its failure.

    Args:
        folder: sub-folders are speakers; files beside them belong to the folder's own name.
        answerer: the assistant.
        hear: the judge's recogniser, for comparison; None leaves it out.
        progress: wraps the recordings, for a bar.
        store: file of the rows so far; what `model` answered in it is not asked again.
        model: who answers.
    """
    known = {} if store is None else _kept(store, model)
    rows = []
    with ExitStack() as held:
        writer = None if store is None else held.enter_context(RowWriter(store))
        for path, said in progress(find(folder)):
            name = path.relative_to(folder).as_posix()
            row = known.get((name, said))
            if row is None:
                row = _probed(path, name, said, answerer, hear=hear, max_seconds=max_seconds)
                if writer is not None:
                    writer.add({"model": model, **asdict(row)})
            rows.append(row)
    return rows


def _kept(store: Path, model: str) -> dict[tuple[str, str], Probed]:
    """Return the rows of a file that a model answered, by name and words."""
    found = {}
    for row in read_rows(store):
        if row.pop("model", None) == model:
            try:
                made = Probed(**{**row, "calls": tuple(row["calls"])})
            except (KeyError, TypeError):
                raise InputError(f"{store} was written by another version; remove it") from None
            found[made.file, made.said] = made
    return found


def _probed(
    path: Path, name: str, said: str, answerer: Answerer, *, hear: Hear | None, max_seconds: float
) -> Probed:
    try:
        pcm, rate_hz = read_audio(path, max_seconds)
    except InputError as error:
        why = f"not asked: {error}"
        no_figure = None if hear is None else 1.0
        return Probed(
            name, path.parent.name, said, "", "", (), 1.0, "", no_figure, False, None, why
        )
    record = ask(answerer, pcm, rate_hz)
    other = "" if hear is None else hear(pcm, rate_hz)
    return Probed(
        file=name,
        speaker=path.parent.name,
        said=said,
        heard=record.transcript,
        answer=record.text,
        calls=tuple(f"{call.name} {call.arguments}" for call in record.calls),
        errors=round(error_rate(said, record.transcript), 3),
        recogniser=other,
        recogniser_errors=None if hear is None else round(error_rate(said, other), 3),
        refused=in_order(NOT_UNDERSTOOD, record.text),
        first_audio_ms=record.first_audio_ms,
        failure=record.error,
    )


def summary(rows: Sequence[Probed]) -> dict[str, dict[str, float | int | None]]:
    """Return the figures of each speaker and of all."""
    speakers = sorted({row.speaker for row in rows})
    groups = {name: [row for row in rows if row.speaker == name] for name in speakers}
    return {name: _figures(group) for name, group in {**groups, "all": list(rows)}.items()}


def _figures(rows: Sequence[Probed]) -> dict[str, float | int | None]:
    words = max(1, sum(len(units(row.said)) for row in rows))
    compared = [row for row in rows if row.recogniser_errors is not None]
    return {
        "recordings": len(rows),
        "word_errors": round(sum(_edits(row.said, row.heard) for row in rows) / words, 3),
        "recogniser_word_errors": (
            round(sum(_edits(row.said, row.recogniser) for row in compared) / words, 3)
            if compared
            else None
        ),
        "heard_exactly": round(sum(row.errors == 0 for row in rows) / len(rows), 3),
        "heard_nearly": round(sum(row.errors <= NEAR for row in rows) / len(rows), 3),
        "refused": round(sum(row.refused for row in rows) / len(rows), 3),
        "failed": sum(bool(row.failure) for row in rows),
    }


def _edits(said: str, heard: str) -> int:
    return edits(units(said), units(heard))


def write(rows: Sequence[Probed], out: Path) -> str:
    """Write recordings.json and recordings.md; return the Markdown."""
    out.mkdir(parents=True, exist_ok=True)
    figures = summary(rows)
    whole = {"speakers": figures, "recordings": [asdict(row) for row in rows]}
    (out / "recordings.json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    page = _markdown(rows, figures)
    (out / "recordings.md").write_text(page, encoding="utf-8")
    return page


def _markdown(rows: Sequence[Probed], figures: Mapping[str, Mapping[str, Any]]) -> str:
    names = list(figures["all"])
    lines = [f"| speaker | {' | '.join(n.replace('_', ' ') for n in names)} |"]
    lines.append("|---" * (len(names) + 1) + "|")
    for speaker, row in figures.items():
        cells = ["-" if row[name] is None else str(row[name]) for name in names]
        lines.append(f"| {speaker} | {' | '.join(cells)} |")
    lines += ["", "| file | said | heard | answer | errors |", "|---|---|---|---|---|"]
    for probed in rows:
        told = (probed.file, probed.said, probed.heard, probed.failure or probed.answer)
        shown = [" ".join(text.replace("|", "/").split())[:100] for text in told]
        lines.append(f"| {' | '.join(shown)} | {probed.errors:.2f} |")
    return "\n".join(lines) + "\n"
