"""StepEval-Audio-360 as it is published: conversations in parquet, recordings in one archive.

    data/*.parquet    a conversation a row: id, category, turns (data/*.jsonl is read as well)
    audios.tar.gz     the recordings; unpacked into audios/ they are read from there

The published card names the files, not the columns, so several names are known for each and an
unknown one is reported with those that are there. Source: the dataset card of
stepfun-ai/StepEval-Audio-360 (137 conversations, 9 categories, Apache-2.0).
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from step_audio.core.audio import check_sound, read_audio
from step_audio.core.errors import AudioError, InputError
from step_audio.core.json_lines import read_rows
from step_audio.core.types import Pcm

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("conversation_id", "id", "index", "uuid"),
    "category": ("category", "type", "task", "ability", "label"),
    "turns": ("conversation", "conversations", "messages", "turns", "dialogue"),
    "role": ("role", "from", "speaker"),
    "text": ("text", "content", "value", "transcription", "transcript"),
    "audio": ("audio_filename", "audio", "audio_path", "file", "filename", "path", "wav"),
}
USERS: Final = frozenset({"user", "human", "query"})
MAX_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Message:
    """One turn: who, the words, and the name of the recording, "" where it is not spoken."""

    role: str
    text: str
    audio: str


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One conversation of the benchmark."""

    id: str
    category: str
    turns: tuple[Message, ...]

    @property
    def questions(self) -> tuple[Message, ...]:
        """The turns of the user."""
        return tuple(turn for turn in self.turns if turn.role == "human")


class Recordings:
    """The sounds of the benchmark, from the unpacked folder or straight from the archive.

    Found by the path that a conversation names, or by the end of it; by the name alone only where
    one recording has it. `close` it afterwards.
    """

    def __init__(self, folder: Path) -> None:
        below = folder / "audios"
        self._files = {
            path.relative_to(below).as_posix(): path
            for path in sorted(below.rglob("*"))
            if path.is_file()
        }
        self._archive: tarfile.TarFile | None = None
        self._members: dict[str, tarfile.TarInfo] = {}
        archive = folder / "audios.tar.gz"
        if not self._files:
            if not archive.is_file():
                raise InputError(f"{folder} has neither audios/ nor audios.tar.gz; download both")
            try:
                self._archive = tarfile.open(archive)  # noqa: SIM115 - read from until the end
                members = self._archive.getmembers()
            except (tarfile.TarError, OSError, EOFError) as error:
                raise InputError(f"{archive} cannot be read: {error}; fetch it again") from None
            self._members = {_plain(m.name): m for m in members if m.isfile()}

    def close(self) -> None:
        """Close the archive; nothing is read afterwards."""
        if self._archive is not None:
            self._archive.close()

    def read(self, name: str) -> tuple[Pcm, int]:
        """Return samples and rate. Raises InputError: no such recording, or not audio."""
        found = _found(name, [*self._files, *self._members])
        if found in self._files:
            return read_audio(self._files[found], MAX_SECONDS)
        member = self._members.get(found)
        file = self._archive.extractfile(member) if self._archive and member else None
        if file is None:
            raise InputError(f"the benchmark has no recording {name!r}")
        return _decode(file.read(), name)


def load_benchmark(folder: Path) -> list[Dialogue]:
    """Return all conversations, in the order of the files.

    Raises:
        InputError: no data, a column that is not known, or pyarrow is missing for parquet.
    """
    rows = list(_rows(folder / "data"))
    if not rows:
        raise InputError(f"{folder} holds no data/*.parquet and no data/*.jsonl; download it first")
    return [_dialogue(row, at) for at, row in enumerate(rows)]


def _rows(data: Path) -> Iterator[Mapping[str, Any]]:
    for path in sorted(data.glob("*.jsonl")):
        yield from read_rows(path)
    files = sorted(data.glob("*.parquet"))
    if not files:
        return
    try:
        from pyarrow import ArrowException, parquet  # noqa: PLC0415 - for this one benchmark
    except ImportError:
        raise InputError(
            "parquet needs the package pyarrow; pip install pyarrow, or write data/*.jsonl"
        ) from None
    for path in files:
        try:
            yield from parquet.read_table(path).to_pylist()
        except (ArrowException, OSError) as error:
            raise InputError(f"{path} cannot be read: {error}") from None


def _dialogue(row: Mapping[str, Any], at: int) -> Dialogue:
    raw = _value(row, "turns", required=True)
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except ValueError:
            raise InputError(f"row {at}: the turns are text that is not JSON") from None
    if not isinstance(raw, Sequence) or not raw:
        raise InputError(f"row {at} has no turns")
    turns = tuple(_turn(turn, at) for turn in raw)
    name = _value(row, "id")
    category = str(_value(row, "category", required=True))
    return Dialogue(str(at if name is None else name), category, turns)


def _turn(raw: Any, at: int) -> Message:
    if not isinstance(raw, Mapping):
        raise InputError(f"row {at}: a turn is {type(raw).__name__}, not an object")
    role = str(_value(raw, "role", required=True)).lower()
    audio = _value(raw, "audio") or ""
    if isinstance(audio, Mapping):  # the form of an audio column
        audio = audio.get("path") or ""
    return Message("human" if role in USERS else role, str(_value(raw, "text") or ""), str(audio))


def _value(row: Mapping[str, Any], what: str, *, required: bool = False) -> Any:
    for name in NAMES[what]:
        if name in row:
            return row[name]
    if required:
        raise InputError(f"no column for {what} among {', '.join(map(str, row))}")
    return None


def _plain(name: str) -> str:
    """Return a path of the archive below its folder `audios`."""
    parts = [part for part in PurePosixPath(name).parts if part not in {".", "/"}]
    return "/".join(parts[1:] if parts[:1] == ["audios"] else parts)


def _found(name: str, known: Sequence[str]) -> str:
    """Return the one recording that `name` means, "" for none. Raises InputError: several."""
    wanted = _plain(name)
    if wanted in known:
        return wanted
    last = wanted.rpartition("/")[2]
    for ending in (wanted, last):
        matches = [path for path in known if f"/{path}".endswith(f"/{ending}")]
        if len(matches) > 1:
            raise InputError(
                f"{len(matches)} recordings are called {ending!r}, such as {matches[0]} and"
                f" {matches[1]}; name them by their paths in the conversations"
            )
        if matches:
            return matches[0]
    return ""


def _decode(content: bytes, name: str) -> tuple[Pcm, int]:
    import soundfile  # noqa: PLC0415 - only archives are decoded from memory

    try:
        sound, rate_hz = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        raise AudioError(f"{name} is not audio that can be read") from None
    pcm: Pcm = sound.mean(axis=1, dtype=np.float32)
    check_sound(pcm, name)
    return pcm, int(rate_hz)
