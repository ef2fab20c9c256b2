"""What every loader makes of a set: items with their sounds, and what of it was broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from step_audio.core.audio import check_sound
from step_audio.core.decoding import decode_sound
from step_audio.core.errors import AudioError, InputError
from step_audio.core.types import Pcm

MAX_SECONDS: Final = 600.0
Task = Literal["answer", "transcribe", "speak"]
"""answer: questions are asked by voice. transcribe: what is said is written down. speak: a text is
read aloud."""


class RecordingMissing(InputError):
    """A set names a recording that is not in its files, or that several fit."""

    code = "missing_sound"

    def __init__(self, name: str, several: Sequence[str] = ()) -> None:
        told = f"the set has no recording {name!r}; fetch its sounds"
        if several:
            told = f"{name!r} fits several recordings: {', '.join(several[:3])}"
        super().__init__(told)


class RowBroken(InputError):
    """One row of a set lacks what it needs; the others are used."""

    code = "broken_row"


@dataclass(frozen=True, slots=True)
class Sound:
    """A recording of a set; nothing is read before `read`.

    Attributes:
        name: as the set names it.
        fetch: returns the bytes of the file. Raises RecordingMissing.
    """

    name: str
    fetch: Callable[[], bytes]

    def read(self) -> tuple[Pcm, int]:
        """Return samples (T,) and their rate. Raises RecordingMissing, AudioError."""
        data = self.fetch()
        try:
            sound = decode_sound(data, MAX_SECONDS)
        except AudioError as error:
            raise AudioError(f"{self.name}: {error}") from None
        check_sound(sound.pcm, self.name)
        return sound.pcm, sound.rate_hz


@dataclass(frozen=True, slots=True)
class UserTurn:
    """What a person says: its words where the set tells them, and its sound where it is spoken."""

    text: str = ""
    sound: Sound | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One row of a set.

    Attributes:
        id: unique in its set.
        task: what is asked of the examinee.
        scoring: name of a rule in `scores.rules`.
        turns: what the person says, in order, in one conversation. Of `speak`: the text to read,
            with the recording of the voice that is to read it.
        reference: right answers, any of which will do; or the one transcript.
        category: figures are given for each.
        language: "en" or "zh"; "" where the set does not tell.
        facts: what the rule needs besides.
    """

    id: str
    task: Task
    scoring: str
    turns: tuple[UserTurn, ...]
    reference: tuple[str, ...] = ()
    category: str = ""
    language: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class LoadedSet:
    """All items of a set, and its broken rows, each with its place and reason."""

    items: list[Item] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def add(self, other: LoadedSet) -> None:
        """Take over what another part of the set holds."""
        self.items += other.items
        self.broken += other.broken
