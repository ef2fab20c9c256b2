"""Recordings and conversations that others laid out, into a data set: utterances and samples.

    FOLDER                   sounds, each with a `.txt` of the same name; a sub-folder a speaker
    FILE.jsonl               rows of {"audio", "text"} or {"messages"}; paths from the file's folder
    FILE.parquet             the same rows; `audio` may hold the bytes, as Hugging Face writes them
    FOLDER of save_to_disk   a `datasets.Dataset`; so may a name of the hub be (`--hub`)

A row of {"audio", "text"} becomes one utterance and the samples ASR and TTS. A conversation,
`messages` of {"role", "content", "audio"}, becomes one sample whose task says what was spoken.
Further columns: `speaker`, `language`, `licence`. What cannot be used is a row with its reason.
"""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from step_audio.core.audio import check_sound, read_audio
from step_audio.core.containers import SOUND_ENDINGS
from step_audio.core.errors import AudioError, InputError
from step_audio.core.json_lines import RowWriter, read_rows
from step_audio.core.types import Pcm
from step_audio.data.manifest import SpokenUtterance, content_id, read_utterances, sound_hash, store
from step_audio.data.samples import Sample
from step_audio.data.write import Layout

FAILURES: Final = "import_failures.jsonl"
LONGEST_S: Final = 300.0
_ROLES: Final = {
    **{"user": "human", "human": "human", "assistant": "assistant", "gpt": "assistant"},
    "system": "system",
}


@dataclass(frozen=True, slots=True)
class ImportDefaults:
    """What rows that do not say it are given."""

    speaker: str
    licence: str
    language: str = "en"


class RowRefused(InputError):
    """A row that cannot be used; `reason` is a word to count it by."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Set:
    """Where rows go, where their paths start, and what they are given."""

    root: Path
    base: Path
    given: ImportDefaults
    tasks: Sequence[str]
    layout: Layout


def import_rows(
    root: Path,
    rows: Iterable[Mapping[str, Any]],
    base: Path,
    given: ImportDefaults,
    *,
    tasks: Sequence[str] = ("ASR", "TTS"),
    layout: Layout | None = None,
) -> Counter[str]:
    """Add rows to a data set; return what was added, and what was refused by reason.

    Args:
        root: the data set.
        rows: see above.
        base: folder that paths in rows start from and may not leave.
        given: for rows that do not say it.
        tasks: samples of a recording with its words.
        layout: of the prompts; nano's by default.
    """
    root.mkdir(parents=True, exist_ok=True)
    into = _Set(root, base, given, tasks, layout or Layout())
    known = {utterance.id for utterance in read_utterances(root)}
    samples = {row["id"] for row in read_rows(root / "samples.jsonl")}
    counts: Counter[str] = Counter()
    with (
        RowWriter(root / "utterances.jsonl") as utterance_rows,
        RowWriter(root / "samples.jsonl") as sample_rows,
        RowWriter(root / FAILURES) as failures,
    ):
        for at, row in enumerate(rows):
            try:
                spoken, made = _imported(into, row)
            except InputError as error:
                reason = error.reason if isinstance(error, RowRefused) else "sound not readable"
                counts[reason] += 1
                failures.add({"row": at, "reason": reason, "why": str(error)})
                continue
            for utterance in spoken:
                if utterance.id not in known:
                    known.add(utterance.id)
                    utterance_rows.add(utterance.row())
                    counts["utterances"] += 1
            for sample in made:
                if sample.id not in samples:
                    samples.add(sample.id)
                    sample_rows.add(sample.row())
                    counts["samples"] += 1
    return counts


def read_source(path: Path) -> tuple[Iterator[Mapping[str, Any]], Path]:
    """Return the rows of a file or folder, and the folder that their paths start from.

    Raises:
        InputError: nothing that can be read.
    """
    if path.is_file() and path.suffix == ".jsonl":
        return iter(read_rows(path)), path.parent
    if path.is_file() and path.suffix == ".parquet":
        return _dataset_rows(
            lambda lib: lib.load_dataset("parquet", data_files=str(path))
        ), path.parent
    if (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file():
        return _dataset_rows(lambda lib: lib.load_from_disk(str(path))), path
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SOUND_ENDINGS)
        if files:
            return _folder_rows(files, path), path
    raise InputError(
        f"{path} is no .jsonl, no .parquet, no data set of save_to_disk and no folder of sounds"
    )


def hub_rows(name: str, split: str) -> Iterator[Mapping[str, Any]]:
    """Return the rows of a data set of the hub. Raises InputError: not to be had."""
    return _dataset_rows(lambda lib: lib.load_dataset(name, split=split, streaming=True))


def _dataset_rows(load: Callable[[Any], Any]) -> Iterator[Mapping[str, Any]]:
    try:
        import datasets  # noqa: PLC0415 - optional
    except ImportError:
        raise InputError(
            "this needs the package datasets: pip install 'step-audio[train]'"
        ) from None
    try:
        found = load(datasets)
    except Exception as error:  # the library raises errors of many packages
        raise InputError(
            f"cannot read the data set: {' '.join(str(error).split())[:300]}"
        ) from None
    parts = found.values() if isinstance(found, dict) else [found]
    for part in parts:
        rows = part
        for name, feature in (part.features or {}).items():
            if isinstance(feature, datasets.Audio):
                # We decode ourselves: the library would ask for one more package.
                rows = rows.cast_column(name, datasets.Audio(decode=False))
        yield from rows


def _folder_rows(files: Sequence[Path], folder: Path) -> Iterator[Mapping[str, Any]]:
    for path in files:
        row: dict[str, Any] = {"audio": path.relative_to(folder).as_posix()}
        text = path.with_suffix(".txt")
        if text.is_file():
            row["text"] = text.read_text(encoding="utf-8", errors="replace").strip()
        if path.parent != folder:
            row["speaker"] = path.parent.name
        yield row


def _imported(into: _Set, row: Mapping[str, Any]) -> tuple[list[SpokenUtterance], list[Sample]]:
    messages = row.get("messages") or row.get("conversations")
    if messages is not None:
        return _conversation(into, row, messages)
    text = row.get("text") or row.get("sentence") or row.get("transcription")
    if not isinstance(text, str) or not text.strip():
        raise RowRefused("no text", "the row has no text; write what is said beside the sound")
    if row.get("audio") is None:
        raise RowRefused("no sound", "the row has no audio")
    said = _utterance(into, row, text.strip(), row["audio"])
    source = dict(said.source)
    made = []
    if "ASR" in into.tasks:
        turns = [
            ["system", [{"prompt": into.layout.transcribe}]],
            ["human", [{"audio": said.id}]],
            ["assistant", [{"text": said.text}]],
        ]
        made.append(Sample("ASR", turns, 0, source))
    if "TTS" in into.tasks:
        system = {"tts": said.text} if into.layout.published_tts else {"prompt": into.layout.read}
        turns = [
            ["system", [system]],
            ["human", [{"text": said.text}]],
            ["assistant", [{"audio": said.id}]],
        ]
        made.append(Sample("TTS", turns, 1, source))
    return [said], made


def _conversation(
    into: _Set, row: Mapping[str, Any], messages: Any
) -> tuple[list[SpokenUtterance], list[Sample]]:
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise RowRefused("no conversation", "messages is not a list of turns")
    turns: list[Any] = []
    spoken: list[SpokenUtterance] = []
    heard: list[dict[str, str]] = []
    letters = {"human": "T", "assistant": "T"}
    for message in messages:
        known = isinstance(message, Mapping)
        role = _ROLES.get(str(message.get("role", message.get("from", ""))) if known else "")
        if role is None:
            raise RowRefused("no conversation", f"{str(message)[:80]} has no role that is known")
        text = message.get("content", message.get("value"))
        text = text.strip() if isinstance(text, str) else ""
        sound = message.get("audio")
        if sound is None:
            if not text:
                raise RowRefused("no text", "a turn has neither words nor sound")
            turns.append([role, [*(heard if role == "assistant" else []), {"text": text}]])
        else:
            said = _utterance(into, {**row, **message}, text, sound)
            spoken.append(said)
            part = {"spoken": text, "audio": said.id} if role == "assistant" and text else None
            opening = heard if role == "assistant" else []
            turns.append([role, [*opening, part or {"audio": said.id}]])
            letters[role] = "A"
        heard = []
        if role == "human" and sound is not None and text and into.layout.hears:
            heard = [{"heard": text}]
    if turns[0][0] != "system":
        turns.insert(0, ["system", [{"prompt": into.layout.answer}]])
    if turns[-1][0] != "assistant" or not any(turn[0] == "human" for turn in turns):
        raise RowRefused("no conversation", "a conversation ends with an answer to a question")
    task = f"{letters['human']}Q{letters['assistant']}A"
    source = {"licence": _text_of(row, "licence", into.given.licence)}
    return spoken, [Sample(task, turns, 1, source)]


def _utterance(into: _Set, row: Mapping[str, Any], text: str, sound: Any) -> SpokenUtterance:
    name, pcm, rate_hz = _sound(sound, into.base)
    source = {
        "recording": name,
        "text": {"by": "transcript" if text else "nobody"},
        "licence": _text_of(row, "licence", _text_of(row, "license", into.given.licence)),
    }
    speaker = _text_of(row, "speaker", _text_of(row, "speaker_id", into.given.speaker))
    language = _text_of(row, "language", into.given.language)
    key = content_id(sound_hash(pcm), text)
    utterance = SpokenUtterance(key, text, "", "", 0.0, speaker, language, source=source)
    return store(into.root, utterance, pcm, rate_hz)


def _text_of(row: Mapping[str, Any], key: str, otherwise: str) -> str:
    value = row.get(key)
    return str(value)[:200] if isinstance(value, str | int) and str(value) else otherwise


def _sound(sound: Any, base: Path) -> tuple[str, Pcm, int]:
    """Return name, samples and rate of an `audio` cell: a path, or {"path", "bytes"}.

    Raises:
        InputError: not readable, or outside of `base`.
    """
    if isinstance(sound, Mapping):
        name = str(sound.get("path") or "bytes")
        content = sound.get("bytes")
        if isinstance(content, bytes):
            return Path(name).name, *_decoded(content, name)
        sound = sound.get("path")
    if not isinstance(sound, str) or not sound:
        raise RowRefused("no sound", "audio is neither a path nor bytes")
    path = (base / sound).resolve()
    # Files of data sets are from outside: none may lead to another folder.
    if not path.is_relative_to(base.resolve()):
        raise RowRefused("no sound", f"{sound!r} leads out of {base}")
    pcm, rate_hz = read_audio(path, LONGEST_S)
    return path.name, pcm, rate_hz


def _decoded(content: bytes, name: str) -> tuple[Pcm, int]:
    import soundfile  # noqa: PLC0415 - paths are read elsewhere

    try:
        sound, rate_hz = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        raise AudioError(f"{name} is not audio that can be read") from None
    if len(sound) > LONGEST_S * rate_hz:
        raise AudioError(f"{name} is longer than {LONGEST_S:g} s")
    pcm: Pcm = sound.mean(axis=1, dtype=np.float32)
    check_sound(pcm, name)
    return pcm, int(rate_hz)


def export_rows(root: Path, out: Path) -> int:
    """Write the utterances of a data set as rows of {"audio", "text", ...}; return how many.

    `.jsonl` names the sounds by their paths from its folder; `.parquet` holds them, in the form
    of Hugging Face.

    Raises:
        InputError: another ending, or no sound in the set.
    """
    utterances = [utterance for utterance in read_utterances(root) if utterance.text]
    if not utterances:
        raise InputError(f"{root} holds no sound with its words")
    rows = [
        {
            "id": u.id,
            "text": u.text,
            "speaker": u.speaker,
            "language": u.language,
            "seconds": u.seconds,
            "licence": str(u.source.get("licence", "")),
            "source": json.dumps(u.source, ensure_ascii=False, sort_keys=True),
        }
        for u in utterances
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".jsonl":
        files = [os.path.relpath(root / u.file, out.parent) for u in utterances]
        with out.open("w", encoding="utf-8") as file:
            for path, row in zip(files, rows, strict=True):
                file.write(json.dumps({"audio": path, **row}, ensure_ascii=False) + "\n")
        return len(rows)
    if out.suffix != ".parquet":
        raise InputError(f"{out} must end in .parquet or .jsonl")
    try:
        import pyarrow as pa  # noqa: PLC0415 - optional
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise InputError(
            "parquet needs the package pyarrow: pip install 'step-audio[train]'"
        ) from None
    sounds = [
        {"bytes": (root / u.file).read_bytes(), "path": Path(u.file).name} for u in utterances
    ]
    cells = [{"audio": sound, **row} for sound, row in zip(sounds, rows, strict=True)]
    features = {"info": {"features": {"audio": {"_type": "Audio"}}}}
    table = pa.Table.from_pylist(cells)
    parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), out)
    return len(rows)
