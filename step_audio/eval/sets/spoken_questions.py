"""Spoken questions with text answers: OpenAudioBench and the hub's copies, VoiceBench, URO-Bench,
Big Bench Audio.

Sources: fixie-ai/llama-questions; baichuan-inc/OpenAudioBench (columns as Kimi-Audio-Evalkit reads
them); VoiceBench, arXiv:2410.17196; URO-Bench, arXiv:2502.17810;
ArtificialAnalysis/big_bench_audio.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Final

from step_audio.core.errors import InputError
from step_audio.eval.sets.files import SetFiles
from step_audio.eval.sets.items import Item, LoadedSet, RowBroken, UserTurn
from step_audio.eval.sets.tables import (
    ENDINGS,
    Row,
    Table,
    read_table,
    sound_of,
    text_of,
    texts_of,
)

AUDIO: Final = ("audio", "audio_filename", "file_name", "audio_path")
_CHINESE: Final = re.compile("[\u4e00-\u9fff]")


@dataclass(frozen=True, slots=True)
class QuestionColumns:
    """The names of a set's columns, in either of its layouts."""

    question: tuple[str, ...]
    answer: tuple[str, ...]
    scoring: str
    folder: str
    language: str = "en"


QUESTIONS: Final[Mapping[str, QuestionColumns]] = {
    "llama-questions": QuestionColumns(
        ("Questions", "question"), ("Answer", "answer"), "correct", "llama_questions"
    ),
    "web-questions": QuestionColumns(
        ("question",), ("answers", "answer"), "alias", "web_questions"
    ),
    "trivia-qa": QuestionColumns(
        ("question",), ("answer_normalized_aliases", "answers", "answer"), "alias", "trivia_qa"
    ),
    "reasoning-qa": QuestionColumns(("Prompt",), ("参考答案",), "reasoning", "reasoning_qa", "zh"),
    "alpaca-eval": QuestionColumns(("instruction",), ("output",), "rating10", "alpaca_eval"),
}
"""Column names of OpenAudioBench first, then of the hub's parquet."""

VOICEBENCH: Final[Mapping[str, str]] = {
    "alpacaeval": "open5",
    "alpacaeval_full": "open5",
    "commoneval": "open5",
    "wildvoice": "open5",
    "mtbench": "open5",
    "sd-qa": "yesno",
    "openbookqa": "choice",
    "mmsu": "choice",
    "bbh": "bbh",
    "ifeval": "ifeval",
    "advbench": "refusal",
}
"""Configuration to scoring."""

VOICEBENCH_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "prompt": ("prompt", "instruction", "question"),
    "audio": AUDIO,
    "reference": ("reference", "answer", "output"),
    "key": ("key", "id"),
}

URO_BENCH: Final[Mapping[str, tuple[str, ...]]] = {
    "sound": ("source_wav",),
    "question": ("source_text",),
    "answer": ("target_text",),
    "rounds": ("dialogue",),
    "id": ("id",),
}

BIG_BENCH: Final[Mapping[str, tuple[str, ...]]] = {
    "audio": ("file_name", "audio"),
    "answer": ("official_answer", "answer", "target"),
    "category": ("category", "task"),
    "id": ("id", "question_id"),
    "text": ("transcript", "question", "prompt"),
}
"""`audio` alone is confirmed; the others are from memory."""


def questions(files: SetFiles, name: str) -> LoadedSet:
    """Read one of `QUESTIONS`: the hub's parquet, or csv and audios/ of OpenAudioBench."""
    known = QUESTIONS[name]
    tables = _of_folder(files, known.folder) or files.names(*ENDINGS)
    if not tables:
        raise InputError(f"{files.folder} holds no parquet, csv or jsonl; download {name} first")
    loaded = LoadedSet()
    for path in tables:
        loaded.add(_questions(files, read_table(files, path), known))
    return loaded


def _questions(files: SetFiles, table: Table, known: QuestionColumns) -> LoadedSet:
    question = table.column("the question", known.question)
    answer = table.column("the answer", known.answer)
    audio = table.column("the sound", AUDIO)

    def make(row: Row, at: int) -> Item:
        answers = texts_of(row, answer)
        if not answers:
            raise RowBroken(f"{answer} is empty")
        text = text_of(row, question, required=True)
        return Item(
            id=f"{PurePosixPath(table.name).stem}:{at}",
            task="answer",
            scoring=known.scoring,
            turns=(UserTurn(text, sound_of(files, table.name, row, audio)),),
            reference=answers,
            language=known.language,
        )

    return table.items(make)


def voicebench(files: SetFiles) -> LoadedSet:
    """A configuration a folder, a split a file; parquet as on the hub, or jsonl."""
    loaded = LoadedSet()
    for name in files.names(*ENDINGS):
        parts = PurePosixPath(name.lower()).parts
        config = next((part for part in reversed(parts[:-1]) if part in VOICEBENCH), None)
        if config is not None:
            loaded.add(_instructions(files, read_table(files, name), config))
    if not loaded.items and not loaded.broken:
        known = ", ".join(VOICEBENCH)
        raise InputError(f"{files.folder} holds no table in a folder named like one of {known}")
    return loaded


def _instructions(files: SetFiles, table: Table, config: str) -> LoadedSet:
    prompt = table.column("the prompt", VOICEBENCH_COLUMNS["prompt"])
    audio = table.column("the sound", VOICEBENCH_COLUMNS["audio"])
    reference = table.optional(VOICEBENCH_COLUMNS["reference"])
    key = table.optional(VOICEBENCH_COLUMNS["key"])
    split = re.split("[-.]", PurePosixPath(table.name).name)[0]

    def make(row: Row, at: int) -> Item:
        wanted = texts_of(row, reference)
        if VOICEBENCH[config] in ("yesno", "choice", "bbh") and not wanted:
            raise RowBroken("no reference")
        text = text_of(row, prompt, required=True)
        return Item(
            id=f"{config}:{split}:{at}",
            task="answer",
            scoring=VOICEBENCH[config],
            turns=(UserTurn(text, sound_of(files, table.name, row, audio)),),
            reference=wanted,
            category=config if config != "sd-qa" else f"sd-qa {split}",
            language="en",
            facts={"key": text_of(row, key)},
        )

    return table.items(make)


def uro_bench(files: SetFiles) -> LoadedSet:
    """One jsonl a set, with its sounds beside it; several rounds where `dialogue` is there."""
    loaded = LoadedSet()
    for name in files.names(".jsonl"):
        table = read_table(files, name)
        if table.optional(("dialogue",)) is None:
            table.column("the sound", ("source_wav",))
            table.column("the question", ("source_text",))
        loaded.add(table.items(partial(_uro_item, files, name)))
    if not loaded.items and not loaded.broken:
        raise InputError(f"{files.folder} holds no jsonl of URO-Bench; download its zip first")
    return loaded


def _uro_item(files: SetFiles, name: str, row: Row, at: int) -> Item:
    path = PurePosixPath(name)
    subset = path.parent.name if path.stem in ("test", "data", "output") else path.stem
    rounds: Any = row.get("dialogue") or [row]
    if not isinstance(rounds, list) or not all(isinstance(one, Mapping) for one in rounds):
        raise RowBroken("dialogue is not a list of rounds")
    turns = tuple(
        UserTurn(text_of(one, "source_text"), sound_of(files, name, one, "source_wav"))
        for one in rounds
    )
    wanted = texts_of(rounds[-1], "target_text")
    words = " ".join((*(turn.text for turn in turns), *wanted))
    chinese = subset.lower().endswith("-zh") or bool(_CHINESE.search(words))
    return Item(
        id=f"{subset}:{text_of(row, 'id') or at}",
        task="answer",
        scoring="uro_answer" if wanted else "uro_open",
        turns=turns,
        reference=wanted,
        category=subset,
        language="zh" if chinese else "en",
    )


def big_bench_audio(files: SetFiles) -> LoadedSet:
    """metadata.jsonl and data/question_N.mp3, or the hub's parquet."""
    names = files.names("metadata.jsonl") or files.names(*ENDINGS)
    if not names:
        raise InputError(f"{files.folder} holds no metadata.jsonl; download Big Bench Audio first")
    loaded = LoadedSet()
    for name in names:
        loaded.add(_closed_questions(files, read_table(files, name)))
    return loaded


def _closed_questions(files: SetFiles, table: Table) -> LoadedSet:
    audio = table.column("the sound", BIG_BENCH["audio"])
    answer = table.column("the answer", BIG_BENCH["answer"])
    category = table.optional(BIG_BENCH["category"])
    text, key = table.optional(BIG_BENCH["text"]), table.optional(BIG_BENCH["id"])

    def make(row: Row, at: int) -> Item:
        return Item(
            id=text_of(row, key) or str(at),
            task="answer",
            scoring="closed",
            turns=(UserTurn(text_of(row, text), sound_of(files, table.name, row, audio)),),
            reference=(text_of(row, answer, required=True),),
            category=text_of(row, category),
            language="en",
        )

    return table.items(make)


def _of_folder(files: SetFiles, folder: str) -> list[str]:
    """Return the tables below a folder of that name: several sets may lie side by side."""
    return [name for name in files.names(*ENDINGS) if folder in PurePosixPath(name).parts[:-1]]
