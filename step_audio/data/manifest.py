"""A data set on disk: what shall be said, what was said, and where each sound comes from.

    texts.jsonl       what a language model wrote                       (data write)
    samples.jsonl     conversations whose sounds are named by line      (data write)
    lines.jsonl       what shall be said                                (data write)
    utterances.jsonl  what was said: file, hash, provenance             (data speak, segment)
    recordings.jsonl  recordings that were cut, or why they could not be read  (data segment)
    audio/ab/ID.flac  the sounds
    failures.jsonl    lines that nobody could say, and why              (data speak)
    scores.jsonl      what the gates measured                           (data filter)
    verdicts.jsonl    who passed, and a reason for each who did not     (data filter)
    tokens/           codes of the sounds that passed                   (data pack)
    report/           the same in figures and plots                     (data report)

Every step adds what is missing and leaves what is there, so any of them may be cut off and run
again. Ids are hashes of content: the same line has the same id anywhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from step_audio.core.audio import read_audio
from step_audio.core.errors import InputError
from step_audio.core.json_lines import read_rows
from step_audio.core.types import Pcm
from step_audio.data.tags import Tags


@dataclass(frozen=True, slots=True)
class TextLine:
    """Something to be said.

    Attributes:
        text: plain words, without tags.
        voice: who says it: a name that the reader knows, "user" (anybody) or "assistant".
        tags: how.
        language: code such as "en".
        take: 0, 1, ... for the same words said again.
        source: where the text comes from.
    """

    text: str
    voice: str = "assistant"
    tags: Tags = field(default_factory=Tags)
    language: str = "en"
    take: int = 0
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Hash of everything but the source."""
        return content_id(self.text, self.voice, self.tags.row(), self.language, self.take)

    def row(self) -> dict[str, Any]:
        """Return the line for a manifest."""
        return {"id": self.id, **asdict(self), "tags": self.tags.row()}


@dataclass(frozen=True, slots=True)
class SpokenUtterance:
    """Something that was said.

    Attributes:
        id: of its line, or of the recording and the place in it.
        text: what is said; "" when nobody knows.
        file: path inside the data set.
        sha256: of the samples as 16-bit, so that it does not depend on the container.
        seconds: its length.
        speaker: who says it, as the reader names the voice.
        source: provenance: engine or recording, voice, licence, seed, text source.
    """

    id: str
    text: str
    file: str
    sha256: str
    seconds: float
    speaker: str
    language: str = "en"
    tags: Tags = field(default_factory=Tags)
    source: Mapping[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """Return the utterance for a manifest."""
        return {**asdict(self), "tags": self.tags.row()}

    def read(self, root: Path) -> tuple[Pcm, int]:
        """Return its samples and rate. Raises InputError: missing, or altered since."""
        pcm, rate_hz = read_audio(root / self.file, max_seconds=3600.0)
        if sound_hash(pcm) != self.sha256:
            raise InputError(f"{root / self.file} was altered since it was written")
        return pcm, rate_hz


def content_id(*content: Any) -> str:
    """Return 20 hex digits that stand for the content."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def sound_hash(pcm: Pcm) -> str:
    """Return the SHA-256 of samples rounded to 16 bits."""
    return hashlib.sha256(to_int16(pcm).tobytes()).hexdigest()


def to_int16(pcm: Pcm) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Return samples as they are stored."""
    return np.clip(np.round(pcm * 32768.0), -32768, 32767).astype("<i2")


def store(root: Path, utterance: SpokenUtterance, pcm: Pcm, rate_hz: int) -> SpokenUtterance:
    """Write the sound as FLAC and return the utterance with its file, hash and length."""
    import soundfile  # noqa: PLC0415 - not every step writes sound

    name = f"audio/{utterance.id[:2]}/{utterance.id}.flac"
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    soundfile.write(part, to_int16(pcm), rate_hz, format="FLAC")
    part.replace(path)
    return replace(
        utterance, file=name, sha256=sound_hash(pcm), seconds=round(len(pcm) / rate_hz, 3)
    )


def read_lines(root: Path) -> list[TextLine]:
    """Return the lines of a data set, each once."""
    found: dict[str, TextLine] = {}
    for row in read_rows(root / "lines.jsonl"):
        values = {key: value for key, value in row.items() if key not in ("id", "tags")}
        line = _made(
            TextLine, root / "lines.jsonl", tags=Tags.from_row(row.get("tags", {})), **values
        )
        found.setdefault(line.id, line)
    return list(found.values())


def read_utterances(root: Path) -> list[SpokenUtterance]:
    """Return the utterances of a data set, each once."""
    path = root / "utterances.jsonl"
    found: dict[str, SpokenUtterance] = {}
    for row in read_rows(path):
        tags = Tags.from_row(row.pop("tags", {}))
        utterance = _made(SpokenUtterance, path, tags=tags, **row)
        if Path(utterance.file).is_absolute() or ".." in Path(utterance.file).parts:
            raise InputError(f"{path}: {utterance.file!r} leads out of the data set")
        found.setdefault(utterance.id, utterance)
    return list(found.values())


def _made(kind: type[Any], path: Path, **values: Any) -> Any:
    try:
        return kind(**values)
    except TypeError as error:
        raise InputError(f"{path}: {error}; was it written by another version?") from None
