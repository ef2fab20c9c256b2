"""Scripted dialogues: what a person says when, as sounds in a folder with a table.

`turns.jsonl` has a dialogue a line:

    {"id": "p1", "kind": "pause", "first": "a.wav", "then": "b.wav", "wait_ms": 600}

| kind | first | then | wait_ms |
|---|---|---|---|
| end_of_turn | a question | - | - |
| pause | the beginning of a question | its rest | the pause between them |
| interruption | a question | what ends its answer | so much of the answer is heard before |
| backchannel | a question | "mm-hmm" | so much of the answer is heard before |
| silence | a question | another | the silence between its answer and the other |

`write_scripts` makes such a folder of natural voices.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Literal, cast, get_args

import numpy as np

from step_audio.core.audio import read_audio, write_wav
from step_audio.core.errors import AudioError, InputError
from step_audio.core.json_lines import read_rows
from step_audio.core.resampling import resample
from step_audio.core.types import Pcm
from step_audio.eval.callers import RATE_HZ, trimmed

Kind = Literal["end_of_turn", "pause", "interruption", "backchannel", "silence"]
TABLE: Final = "turns.jsonl"
_MAX_S: Final = 60.0
_MOST_WAIT_MS: Final = 60_000

_TURNS: Final = (
    "What is twelve plus thirty?",
    "What is the capital of France?",
    "What is the capital of Japan?",
)
_PAUSES: Final = (
    ("What is twelve", "plus thirty?", 300),
    ("What is the capital", "of France?", 600),
    ("How many feet", "are five meters?", 1000),
)
_INTERRUPTIONS: Final = ("Stop.", "Wait, what is the capital of Japan?")
_BACKCHANNELS: Final = ("Mm-hmm.", "Yeah.")
_LONG: Final = "How many feet are five meters?"


@dataclass(frozen=True, slots=True)
class ScriptedDialogue:
    """One dialogue.

    Attributes:
        first, then: sounds at 24 kHz without silence around them, (T,); `then` may be empty.
        wait_ms: as the table of the module says.
    """

    id: str
    kind: Kind
    first: Pcm
    then: Pcm
    wait_ms: int = 0


def read_scripts(folder: Path) -> tuple[list[ScriptedDialogue], list[str]]:
    """Return the dialogues of a folder, and its broken rows.

    Raises:
        InputError: no table, or no usable row.
    """
    if not (folder / TABLE).is_file():
        raise InputError(
            f"{folder} has no {TABLE}; write one (docs/evaluation.md), or let natural voices speak"
            " one: --make"
        )
    scripts, broken = [], []
    for at, row in enumerate(read_rows(folder / TABLE), 1):
        try:
            scripts.append(_script(folder, row, at))
        except InputError as error:
            broken.append(f"{TABLE}, line {at}: {error}")
    if not scripts:
        raise InputError(f"{folder} holds no usable dialogue; the first: {broken[0]}")
    return scripts, broken


def write_scripts(folder: Path) -> None:
    """Write the dialogues of this module, spoken by two natural voices.

    Raises:
        VoicesMissing, PhonesMissing: the message says how to get them.
    """
    from step_audio.data.neural_voices import kokoro  # noqa: PLC0415 - for this alone

    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    spoken: dict[str, str] = {}

    def said(text: str, voice: str) -> str:
        name = f"{voice}-{''.join(c if c.isalnum() else '_' for c in text.lower())}.wav"
        if name not in spoken:
            spoken[name] = text
            if not (folder / name).is_file():
                write_wav(folder / name, *kokoro(text, voice))
        return name

    def add(kind: Kind, first: str, then: str = "", wait_ms: int = 0) -> None:
        voice = ("af_heart", "am_michael")[len(rows) % 2]
        row: dict[str, object] = {"id": f"{kind}-{len(rows)}", "kind": kind}
        row["first"] = said(first, voice)
        if then:
            row |= {"then": said(then, voice), "wait_ms": wait_ms}
        rows.append(row)

    for text in _TURNS:
        add("end_of_turn", text)
    for first, then, wait_ms in _PAUSES:
        add("pause", first, then, wait_ms)
    for text in _INTERRUPTIONS:
        add("interruption", _LONG, text, 500)
    for text in _BACKCHANNELS:
        add("backchannel", _LONG, text, 500)
    for first, then in (_TURNS[:2], _TURNS[1:]):
        add("silence", first, then, 5000)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / TABLE).write_text(text, encoding="utf-8")


def _script(folder: Path, row: dict[str, object], at: int) -> ScriptedDialogue:
    kind, wait_ms = row.get("kind"), row.get("wait_ms", 0)
    if kind not in get_args(Kind):
        raise InputError(f"kind {kind!r}; there are {', '.join(get_args(Kind))}")
    if not isinstance(wait_ms, int) or not 0 <= wait_ms <= _MOST_WAIT_MS:
        raise InputError(f"wait_ms {wait_ms!r} is not 0 to {_MOST_WAIT_MS}")
    then = np.zeros(0, np.float32)
    if kind != "end_of_turn":
        then = _sound(folder, row.get("then"))
    first = _sound(folder, row.get("first"))
    return ScriptedDialogue(str(row.get("id", at)), cast(Kind, kind), first, then, wait_ms)


def _sound(folder: Path, name: object) -> Pcm:
    if not isinstance(name, str) or not name or ".." in PurePosixPath(name).parts:
        raise InputError(f"{name!r} names no sound of the folder")
    pcm, rate_hz = read_audio(folder / name, _MAX_S)
    sound = trimmed(resample(pcm, rate_hz, RATE_HZ))
    if not len(sound):
        raise AudioError(f"{name} is silent")
    return sound
