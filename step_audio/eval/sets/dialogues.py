"""StepFun's own sets: StepEval-Audio-360, -Paralinguistic and -Toolcall.

Their cards name files, not all columns: several names are known for each, in `NAMES`; of Toolcall
no line was ever seen, so all of its names are guesses.
Source: the dataset cards of stepfun-ai (Apache-2.0).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from step_audio.core.errors import InputError
from step_audio.eval.sets.files import SetFiles
from step_audio.eval.sets.items import Item, LoadedSet, RowBroken, UserTurn
from step_audio.eval.sets.tables import ENDINGS, Row, Table, read_table, sound_of, text_of

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("conversation_id", "id", "index", "uuid"),
    "category": ("category", "type", "task", "ability", "label"),
    "turns": ("conversation", "conversations", "messages", "turns", "dialogue"),
    "role": ("role", "from", "speaker"),
    "text": ("text", "content", "value", "transcription", "transcript"),
    "audio": ("audio_filename", "audio", "audio_path", "file", "filename", "path", "wav"),
}
PARALINGUISTIC: Final[Mapping[str, tuple[str, ...]]] = {
    "audio": ("audio", "audio_filename", "audio_path", "file_name", "wav"),
    "task": ("task_name", "subset", "task", "category"),
    "answer": ("task_answer", "answer", "label", "reference"),
    "question": ("question", "task_question", "prompt", "instruction"),
}
CALL: Final[Mapping[str, tuple[str, ...]]] = {
    "arguments": ("arguments", "parameters", "tool_arguments", "args"),
    "call": ("tool_call", "tool_calls", "function_call", "function", "reference", "answer"),
}
TOOLS: Final = ("get_date_time", "get_weather", "timbre", "web_search")
_USERS: Final = frozenset({"user", "human", "query"})


def stepeval_360(files: SetFiles) -> LoadedSet:
    """Conversations in parquet (or jsonl), recordings in audios/ or audios.tar.gz."""
    loaded = LoadedSet()
    for table in _tables(files):
        loaded.add(_conversations(files, table))
    return loaded


def _conversations(files: SetFiles, table: Table) -> LoadedSet:
    turns = table.column("turns", NAMES["turns"])
    category = table.column("category", NAMES["category"])
    key = table.optional(NAMES["id"])

    def make(row: Row, at: int) -> Item:
        return Item(
            id=text_of(row, key) or str(at),
            task="answer",
            scoring="stepeval",
            turns=_user_turns(files, table.name, row.get(turns)),
            category=text_of(row, category, required=True),
        )

    return table.items(make)


def paralinguistic(files: SetFiles) -> LoadedSet:
    """Recordings with what is to be heard in the voice; a subset a folder, or a column of them."""
    loaded = LoadedSet()
    for table in _tables(files):
        loaded.add(_heard_in_voices(files, table))
    return loaded


def _heard_in_voices(files: SetFiles, table: Table) -> LoadedSet:
    audio = table.column("audio", PARALINGUISTIC["audio"])
    answer = table.column("answer", PARALINGUISTIC["answer"])
    task = table.column("task", PARALINGUISTIC["task"])
    question = table.optional(PARALINGUISTIC["question"])

    def make(row: Row, at: int) -> Item:
        name = text_of(row, task)
        sound = sound_of(files, table.name, row, audio)
        return Item(
            id=f"{table.name}:{at}",
            task="answer",
            scoring="paralinguistic",
            turns=(UserTurn(text_of(row, question), sound),),
            reference=(text_of(row, answer, required=True),),
            category=name or PurePosixPath(table.name).parent.name,
            language="zh",
            facts={"task": name},
        )

    return table.items(make)


def toolcall(files: SetFiles) -> LoadedSet:
    """Conversations that call for a tool (TOOL_positive.jsonl), or do not (TOOL_negative.jsonl)."""
    loaded = LoadedSet()
    for tool in TOOLS:
        for sign in ("positive", "negative"):
            for name in files.names(f"{tool}_{sign}.jsonl"):
                loaded.add(_calling(files, read_table(files, name), tool, positive=sign[0] == "p"))
    if not loaded.items and not loaded.broken:
        wanted = ", ".join(f"{tool}_positive.jsonl" for tool in TOOLS)
        raise InputError(f"{files.folder} holds none of {wanted}; download the set first")
    return loaded


def _calling(files: SetFiles, table: Table, tool: str, *, positive: bool) -> LoadedSet:
    turns = table.column("turns", NAMES["turns"])
    key = table.optional(NAMES["id"])

    def make(row: Row, at: int) -> Item:
        return Item(
            id=f"{PurePosixPath(table.name).stem}:{text_of(row, key) or at}",
            task="answer",
            scoring="toolcall",
            turns=_user_turns(files, table.name, row.get(turns)),
            category=tool,
            facts={
                "tool": tool if positive else "",
                "arguments": _arguments(row) if positive else "",
            },
        )

    return table.items(make)


def _tables(files: SetFiles) -> list[Table]:
    names = [name for name in files.names(*ENDINGS) if "prompts/" not in name]
    if not names:
        raise InputError(f"{files.folder} holds no parquet, csv or jsonl; download the set first")
    return [read_table(files, name) for name in names]


def _user_turns(files: SetFiles, table: str, raw: Any) -> tuple[UserTurn, ...]:
    """Return what the person says. Raises RowBroken: nothing, or not in a known form."""
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except (ValueError, RecursionError):
            raise RowBroken("the turns are text that is not JSON") from None
    if not isinstance(raw, Sequence) or not raw:
        raise RowBroken("no turns")
    said = []
    for turn in raw:
        if not isinstance(turn, Mapping):
            raise RowBroken(f"a turn is {type(turn).__name__}, not an object")
        if str(_value(turn, "role")).lower() not in _USERS:
            continue
        text = turn.get(next((name for name in NAMES["text"] if name in turn), "")) or ""
        audio = next((name for name in NAMES["audio"] if turn.get(name)), "")
        sound = sound_of(files, table, turn, audio) if audio else None
        said.append(UserTurn(str(text), sound))
    if not said:
        raise RowBroken("no turn of the person")
    return tuple(said)


def _value(turn: Mapping[str, Any], what: str) -> Any:
    for name in NAMES[what]:
        if name in turn:
            return turn[name]
    raise RowBroken(f"a turn has no {what} among {', '.join(map(str, turn))}")


def _arguments(row: Row) -> str:
    """Return the right arguments as JSON, "" where the row does not tell them."""
    place: Any = row
    for _ in range(3):  # such as tool_calls[0].function.arguments
        place = place[0] if isinstance(place, list) and place else place
        if not isinstance(place, Mapping):
            return ""
        for name in CALL["arguments"]:
            if name in place:
                value = place[name]
                return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        place = next((place[name] for name in CALL["call"] if name in place), None)
    return ""
