"""Training conversations whose sounds are named by line, and the prompt turns they become.

Tasks: TQTA and AQTA (typed or spoken question, typed answer), TQAA and AQAA (spoken answer), ASR,
TTS. Tool calls may stand in any answer. The turns go through the `PromptBuilder` that serves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from step_audio.core.errors import InputError
from step_audio.core.types import Role, TokenGroup
from step_audio.data.manifest import content_id
from step_audio.dialog.prompting.prompt import Audio, Call, Heard, Part, Spoken, Text, Turn
from step_audio.dialog.prompting.system_prompts import load_prompt
from step_audio.dialog.prompting.tts_prompts import tts_system_prompt

TASKS: Final = ("TQTA", "AQTA", "TQAA", "AQAA", "ASR", "TTS")
_ROLES: Final = get_args(Role)

Groups = Mapping[str, Sequence[TokenGroup]]
"""Token groups of lines, by line id."""


class SoundMissing(InputError):
    """A sample needs the sound of a line that was not said, or was rejected."""

    code = "sound_missing"

    def __init__(self, line: str, why: str = "") -> None:
        super().__init__(why or f"line {line} has no accepted sound")
        self.line = line


@dataclass(frozen=True, slots=True)
class Sample:
    """One conversation.

    Attributes:
        task: one of `TASKS`.
        turns: [role, [part, ...]] each; a part is {"text"}, {"audio": line}, {"heard"},
            {"call": [name, arguments]}, {"spoken": text, "audio": line} or {"prompt": name},
            a system prompt of the package; {"tts": text} stands for the published TTS prompt.
        context: so many turns in front are not learned from.
        source: where it comes from.
    """

    task: str
    turns: Sequence[Any]
    context: int = 0
    source: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise InputError(f"task {self.task!r} is none of {', '.join(TASKS)}")

    @property
    def id(self) -> str:
        """Hash of task and turns."""
        return content_id(self.task, self.turns, self.context)

    def row(self) -> dict[str, Any]:
        """Return the sample for `samples.jsonl`."""
        return {
            "id": self.id,
            "task": self.task,
            "turns": self.turns,
            "context": self.context,
            "source": self.source,
        }

    def lines(self) -> list[str]:
        """Return the ids of the lines it needs."""
        parts = [part for _, parts in self.turns for part in parts]
        return [part["audio"] for part in parts if "audio" in part]

    @property
    def is_published_tts(self) -> bool:
        """Whether its prompt is the published TTS prompt, [system; example; text]."""
        match self.turns:
            case [[_, [{"tts": str()}]], *_, [_, [{"audio": str()}]]] if len(self.turns) in {3, 5}:
                return True
        return False

    def resolve(self, groups: Groups) -> list[Turn]:
        """Return the prompt turns. Raises SoundMissing; InputError: a turn of another form."""
        return [_turn(turn, groups) for turn in self.turns]


def from_row(row: Mapping[str, Any]) -> Sample:
    """Return the sample of a row of `samples.jsonl`. Raises InputError: not one."""
    try:
        return Sample(row["task"], row["turns"], int(row.get("context", 0)), row.get("source", {}))
    except (KeyError, TypeError, ValueError):
        raise InputError(f"sample {row.get('id')!r} has not the form of a sample") from None


def _turn(raw: Any, groups: Groups) -> Turn:
    match raw:
        case [str(role), [*parts]] if role in _ROLES:
            made = tuple(_part(part, groups) for part in parts)
            return Turn(next(known for known in _ROLES if known == role), made)
    raise InputError(f"{str(raw)[:80]} is not [role, parts]")


def _part(raw: Any, groups: Groups) -> Part:
    match raw:
        case {"prompt": str(name), **rest} if not rest:
            return Text(load_prompt(name))
        case {"tts": str(text), **rest} if not rest:
            return Text(tts_system_prompt(text, ""))
    return _said(raw, groups)


def _said(raw: Any, groups: Groups) -> Part:
    match raw:
        case {"spoken": str(text), "audio": str(line), **rest} if not rest:
            return Spoken(text, _sound(line, groups))
        case {"audio": str(line), **rest} if not rest:
            return Audio(_sound(line, groups))
        case {"text": str(text), **rest} if not rest:
            return Text(text)
        case {"heard": str(text), **rest} if not rest:
            return Heard(text)
        case {"call": [str(name), str(arguments)], **rest} if not rest:
            return Call(name, arguments)
    raise InputError(f"{str(raw)[:80]} is no part of a turn")


def _sound(line: str, groups: Groups) -> tuple[TokenGroup, ...]:
    found = groups.get(line)
    if not found:
        raise SoundMissing(line)
    return tuple(found)
