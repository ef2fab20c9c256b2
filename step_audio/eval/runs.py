"""One run of a set in a folder of its own, gone on with wherever it was cut off.

    run.json          what was asked of whom; another set or examinee is refused
    answers.jsonl     a row an item, as soon as it is answered
    sounds/           the answers' sounds
    heard.jsonl       what a recogniser hears of them
    judgements.jsonl  what judges said; nothing is asked twice
    measures.jsonl    speaker similarity, DNSMOS

Each row is kept under what it was made of: another answer, recogniser, judge or prompt is new work.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from step_audio.core.audio import read_audio, write_wav
from step_audio.core.errors import AudioError, InputError, StepAudioError
from step_audio.core.json_files import read_object
from step_audio.core.json_lines import RowWriter, read_rows, write_rows
from step_audio.core.ports import ToolSpec
from step_audio.core.types import Pcm, ToolCall
from step_audio.data.manifest import content_id
from step_audio.eval.examinee import (
    AnswerRecord,
    AskedTurn,
    Examinee,
    ExamineeBusy,
    ExamineeGone,
)
from step_audio.eval.recognizers import AnswerRecognizer
from step_audio.eval.scores.judges import JudgedAnswer, JudgePanel
from step_audio.eval.scores.rules import RULES, Said, due_call
from step_audio.eval.sets.items import Item, RecordingMissing

RUN: Final = "run.json"
ANSWERS: Final = "answers.jsonl"
HEARD: Final = "heard.jsonl"
JUDGEMENTS: Final = "judgements.jsonl"
MEASURES: Final = "measures.jsonl"
_BUSY_WAIT_S: Final = 2.0
_MOST_WAITS: Final = 60

Progress = Callable[[int, str], AbstractContextManager[Callable[[], object]]]
"""So many steps of what: gives what is called after each."""
Measure = Callable[[Item, Pcm, int], float | None]
"""An answer's sound to a figure; None where it has none."""


@contextmanager
def quietly(total: int, what: str) -> Iterator[Callable[[], object]]:
    """Show no progress."""
    yield lambda: None


def begin(folder: Path, facts: Mapping[str, Any]) -> None:
    """Open a run's folder for what `facts` say.

    Raises:
        InputError: it holds a run of something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RUN
    if path.exists():
        before = read_object(path)
        other = [key for key, value in facts.items() if before.get(key) != value]
        if other:
            told = ", ".join(f"{key} {before.get(key)!r}" for key in other)
            raise InputError(
                f"{folder} holds another run ({told}); take another folder, or go on with the same"
            )
    path.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@dataclass(slots=True)
class Run:
    """The folder of one run and the items that it is about."""

    folder: Path
    items: Sequence[Item]
    progress: Progress = quietly

    def begin(self, facts: Mapping[str, Any], *, retry_failed: bool = False) -> None:
        """Open the folder for what `facts` say.

        Raises:
            InputError: it holds a run of something else.
        """
        begin(self.folder, facts)
        (self.folder / "sounds").mkdir(exist_ok=True)
        if retry_failed:
            kept = [row for row in read_rows(self.folder / ANSWERS) if not row["error"]]
            write_rows(self.folder / ANSWERS, kept)

    def answers(self) -> dict[str, dict[str, Any]]:
        """Return the rows of the items that are answered."""
        wanted = {item.id for item in self.items}
        rows = read_rows(self.folder / ANSWERS)
        return {row["id"]: row for row in rows if row["id"] in wanted}

    async def answer_all(self, examinee: Examinee, tools: Sequence[ToolSpec] = ()) -> None:
        """Ask what was not asked yet, as many items side by side as the examinee has places.

        Raises:
            ExamineeGone: nobody answers any more; what is answered is kept.
        """
        known = self.answers()
        waiting = [item for item in self.items if item.id not in known]
        queue = iter(waiting)
        with (
            RowWriter(self.folder / ANSWERS) as rows,
            self.progress(len(waiting), "answers") as tick,
        ):

            async def work() -> None:
                for item in queue:
                    rows.add(await self._answered(item, examinee, tools))
                    tick()

            try:
                async with asyncio.TaskGroup() as group:
                    for number in range(min(examinee.places, len(waiting))):
                        group.create_task(work(), name=f"eval.worker.{number}")
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from None

    async def _answered(
        self, item: Item, examinee: Examinee, tools: Sequence[ToolSpec]
    ) -> dict[str, Any]:
        row: dict[str, Any] = {"id": item.id, "category": item.category, "missing": False}
        row |= {"texts": [], "transcript": "", "calls": [], "sound": "", "error": ""}
        row |= {"first_audio_ms": None, "rtf": None}
        try:
            sounds = await asyncio.to_thread(
                lambda: [None if turn.sound is None else turn.sound.read() for turn in item.turns]
            )
        except (RecordingMissing, AudioError) as error:
            return row | {"missing": True, "error": f"{error.code}: {error}"}
        for _ in range(_MOST_WAITS):
            try:
                records = await _ask(item, sounds, examinee, tools)
                break
            except ExamineeBusy:
                await asyncio.sleep(_BUSY_WAIT_S)
            except ExamineeGone:
                raise
            except StepAudioError as error:
                if isinstance(error, InputError) and not isinstance(error, AudioError):
                    raise
                return row | {"error": f"{error.code}: {error}"}
        else:
            raise ExamineeGone(f"{examinee.name} had no place for two minutes")
        return row | self._row(item, records)

    def _row(self, item: Item, records: Sequence[AnswerRecord]) -> dict[str, Any]:
        last = records[-1]
        sound = ""
        if len(last.pcm):
            sound = f"sounds/{file_name(item.id)}.wav"
            write_wav(self.folder / sound, last.pcm, last.rate_hz)
        return {
            "texts": [record.text for record in records],
            "transcript": last.transcript,
            "calls": [[call.name, call.arguments] for record in records for call in record.calls],
            "sound": sound,
            "error": next((record.error for record in records if record.error), ""),
            "first_audio_ms": _rounded(last.first_audio_ms, 1),
            "rtf": _rounded(last.rtf, 3),
        }

    def hear_all(self, recognizer: AnswerRecognizer) -> dict[str, str]:
        """Let a recogniser hear every sound that it has not; return what it heard of each item.

        Raises:
            StepAudioError: the recogniser cannot be had; what it heard so far is kept.
        """
        rows = read_rows(self.folder / HEARD)
        known = {row["key"]: str(row["text"]) for row in rows}
        answers = self.answers()
        spoken = [i for i in self.items if answers.get(i.id, {}).get("sound") and _listened(i)]
        heard: dict[str, str] = {}
        with (
            RowWriter(self.folder / HEARD) as out,
            self.progress(len(spoken), "heard") as tick,
        ):
            for item in spoken:
                path = self.folder / answers[item.id]["sound"]
                key = content_id(item.id, recognizer.name, _digest(path))
                if key not in known:
                    pcm, rate_hz = _loud(path)
                    language = item.language or "en"
                    known[key] = recognizer.hear(pcm, rate_hz, language) if len(pcm) else ""
                    out.add(
                        {
                            "key": key,
                            "id": item.id,
                            "recognizer": recognizer.name,
                            "text": known[key],
                        }
                    )
                heard[item.id] = known[key]
                tick()
        return heard

    def measure_all(self, name: str, measure: Measure) -> dict[str, float]:
        """Measure every sound once, by a measure of that name; return the figures there are."""
        known = {row["key"]: row["value"] for row in read_rows(self.folder / MEASURES)}
        answers = self.answers()
        spoken = [item for item in self.items if answers.get(item.id, {}).get("sound")]
        found: dict[str, float] = {}
        with RowWriter(self.folder / MEASURES) as out, self.progress(len(spoken), name) as tick:
            for item in spoken:
                path = self.folder / answers[item.id]["sound"]
                key = content_id(item.id, name, _digest(path))
                if key not in known:
                    pcm, rate_hz = _loud(path)
                    known[key] = measure(item, pcm, rate_hz) if len(pcm) else None
                    row = {"key": key, "id": item.id, "measure": name, "value": known[key]}
                    out.add(row)
                if known[key] is not None:
                    found[item.id] = float(known[key])
                tick()
        return found

    def judge_all(
        self, panel: JudgePanel, heard: dict[str, str] | None, *, send_audio: bool, workers: int = 4
    ) -> None:
        """Ask the judges of every answer, of its text and of its sound, what they were not asked.

        Args:
            heard: what is heard of the sounds; None leaves them out.
            send_audio: whether the judge hears the sound itself too.

        Raises:
            EndpointError: the judge cannot be reached; what it said so far is kept.
        """
        known = {row["key"] for row in read_rows(self.folder / JUDGEMENTS)}
        answers = self.answers()
        wanted: dict[str, tuple[str, str, JudgedAnswer]] = {}
        for item in self.items:
            row = answers.get(item.id)
            if row is None or row["error"]:
                continue
            for shape, asked in self.asked(item, row, heard, send_audio=send_audio):
                key = panel.key(shape, asked)
                if key not in known and asked.answer.strip():
                    wanted[key] = (item.id, shape, asked)
        with (
            RowWriter(self.folder / JUDGEMENTS) as out,
            ThreadPoolExecutor(workers) as pool,
            self.progress(len(wanted), "judged") as tick,
        ):

            def judge(one: tuple[str, tuple[str, str, JudgedAnswer]]) -> None:
                key, (item_id, shape, asked) = one
                verdict, said = panel.judge(shape, asked)
                told = None if verdict is None else dict(verdict)
                row = {"key": key, "id": item_id, "shape": shape, "judge": panel.endpoint.model}
                out.add({**row, "answer": asked.answer, "verdict": told, "said": said})

            for _ in pool.map(judge, wanted.items()):
                tick()

    def asked(
        self,
        item: Item,
        row: dict[str, Any],
        heard: dict[str, str] | None,
        *,
        send_audio: bool,
    ) -> list[tuple[str, JudgedAnswer]]:
        """Return what judges are asked of one answer: of its text first, then of its sound."""
        rule = RULES[item.scoring]
        texts = [str(text) for text in row["texts"]] or [""]
        words = [texts[-1]]
        if heard is not None and rule.listened:
            words.append(heard.get(item.id, ""))
        if item.scoring == "toolcall":
            arguments = due_call(item, said_of(row))
            words = [arguments] if arguments else []
        lines = []
        for turn, text in zip(item.turns, [*texts[:-1], ""], strict=False):
            lines += [f"Person: {turn.text or '(spoken)'}", f"Assistant: {text}"]
        before = "\n".join(lines[:-1])
        reference = "; ".join(item.reference) or str(item.facts.get("arguments") or "")
        sound = self.folder / row["sound"] if send_audio and row["sound"] else None
        return [
            (
                shape,
                JudgedAnswer(
                    item.category,
                    f"{before}\nAssistant: {answer}" if shape == "stepeval" else before,
                    item.turns[-1].text or "(spoken)",
                    answer,
                    reference,
                    sound,
                ),
            )
            for shape in rule.judges
            for answer in words
        ]

    def verdicts(self) -> dict[str, dict[str, float] | None]:
        """Return every judgement by its key; None: an invalid one."""
        return {row["key"]: row["verdict"] for row in read_rows(self.folder / JUDGEMENTS)}


def said_of(row: dict[str, Any]) -> Said:
    """Return an answer's text and calls from its row."""
    calls = tuple(ToolCall("", str(name), str(arguments)) for name, arguments in row["calls"])
    texts = row["texts"]
    return Said(str(texts[-1]) if texts else "", calls)


def file_name(item_id: str) -> str:
    """Return a name for an item's files: ids come from outside, no path may be made of them."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", item_id)[:60]
    return f"{plain}-{content_id(item_id)[:8]}"


async def _ask(
    item: Item,
    sounds: Sequence[tuple[Pcm, int] | None],
    examinee: Examinee,
    tools: Sequence[ToolSpec],
) -> list[AnswerRecord]:
    first = sounds[0]
    if item.task == "speak":
        text, prompt = item.turns[0].text, str(item.facts.get("prompt_text") or "")
        pcm, rate_hz = await examinee.speak(text, first, prompt)
        return [AnswerRecord(text=text, pcm=pcm, rate_hz=rate_hz)]
    if item.task == "transcribe":
        assert first is not None
        return [AnswerRecord(text=await examinee.transcribe(*first, item.language))]
    turns = [
        AskedTurn(turn.text, *(sound or (None, 16_000)))
        for turn, sound in zip(item.turns, sounds, strict=True)
    ]
    return await examinee.answer(turns, tools if item.scoring == "toolcall" else ())


def _listened(item: Item) -> bool:
    return RULES[item.scoring].listened


def _digest(path: Path) -> str:
    return content_id(path.read_bytes().hex()) if path.is_file() else ""


def _loud(path: Path) -> tuple[Pcm, int]:
    """Return a sound; one that is silent throughout, or gone, is no samples."""
    try:
        return read_audio(path, 3600)
    except AudioError:
        return np.zeros(0, np.float32), 16_000


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
