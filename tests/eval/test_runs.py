"""Whole runs on small sets without models: going on, failures, judges, pages, comparisons."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from step_audio.core.errors import EngineError, InputError
from step_audio.core.json_lines import read_rows
from step_audio.core.ports import ToolSpec
from step_audio.core.types import Pcm
from step_audio.eval.compare import markdown, open_runs, published_figures, write_comparison
from step_audio.eval.examinee import AnswerRecord, AskedTurn, ExamineeBusy, ExamineeGone
from step_audio.eval.page import write_page
from step_audio.eval.report import Judged, make_report, read_report
from step_audio.eval.runs import ANSWERS, Run, file_name
from step_audio.eval.scores.judges import JudgePanel
from step_audio.eval.scores.marks import FIGURES
from step_audio.eval.sets.catalogue import SETS
from step_audio.eval.sets.items import Item, RecordingMissing, Sound, UserTurn
from tests.eval.test_sets import WAV

pytest.importorskip("whisper_normalizer", reason="needs the extra `eval`")

RATE = 16_000


def gone() -> bytes:
    raise RecordingMissing("gone.wav")


def questions(count: int = 12) -> list[Item]:
    """Questions "n plus one"; the last one's sound is missing."""
    return [
        Item(
            id=f"q/{n}",
            task="answer",
            scoring="correct",
            turns=(
                UserTurn(
                    f"{n} <b>plus</b> one?",
                    Sound(f"{n}.wav", gone if n == count - 1 else (lambda: WAV)),
                ),
            ),
            reference=(str(n + 1),),
            category="even" if n % 2 == 0 else "odd",
        )
        for n in range(count)
    ]


class Reckoner:
    """Adds one; is busy, fails or is gone where a test says so. Its sound is as long as it says."""

    name, clones = "reckoner", False

    def __init__(self, *, busy: int = 0, fails: str = "", gone: str = "", places: int = 3) -> None:
        self.places, self._busy, self._fails, self._gone = places, busy, fails, gone
        self.asked: list[str] = []
        self.most, self._now = 0, 0

    async def answer(
        self, turns: Sequence[AskedTurn], tools: Sequence[ToolSpec] = ()
    ) -> list[AnswerRecord]:
        text = turns[-1].text
        self._now += 1
        self.most = max(self.most, self._now)
        await asyncio.sleep(0.02)
        self._now -= 1
        if self._busy:
            self._busy -= 1
            raise ExamineeBusy("later")
        self.asked.append(text)
        number = int(text.split()[0])
        if self._gone and str(number) == self._gone:
            raise ExamineeGone("nobody answers")
        if self._fails and str(number) == self._fails:
            raise EngineError("it broke")
        pcm = np.full(1600 * (number + 1), 0.1, np.float32)
        return [AnswerRecord("", f"that is {number + 1}", (), pcm, RATE, 100.0 + number, 0.5)]

    async def transcribe(self, pcm: Pcm, rate_hz: int, language: str) -> str:
        raise NotImplementedError

    async def speak(
        self, text: str, example: tuple[Pcm, int] | None, example_text: str
    ) -> tuple[Pcm, int]:
        raise NotImplementedError

    async def aclose(self) -> None: ...


class Counter:
    """An recognizer that knows a sound by its length, and mishears three."""

    name = "counter"

    def __init__(self) -> None:
        self.heard = 0

    def hear(self, pcm: Pcm, rate_hz: int, language: str, /) -> str:
        self.heard += 1
        number = round(len(pcm) / 1600)
        return f"that is {number if number != 3 else 'free'}"


class RightOrWrong:
    """A judge: odd answers are right, two has an unusable verdict."""

    def __init__(self, model: str = "strict") -> None:
        self.model, self.asked = model, 0

    def complete(self, messages: Sequence[Mapping[str, Any]], **settings: Any) -> str:
        self.asked += 1
        answer = str(messages[0]["content"]).split("Answer: ")[1].split("\n")[0]
        if answer.endswith(" 2"):
            return "hm"
        return f"[{'Correct' if answer[-1] in '13579' else 'Incorrect'}]"


FACTS = {"set": "llama-questions", "title": "LLaMA Questions", "examinee": "reckoner"}


def whole_run(
    folder: Path, examinee: Reckoner, judge: RightOrWrong | None = None
) -> dict[str, Any]:
    run, recognizer = Run(folder, questions()), Counter()
    run.begin(FACTS)
    asyncio.run(run.answer_all(examinee))
    heard = run.hear_all(recognizer)
    panel = None if judge is None else JudgePanel(judge)
    if panel is not None:
        run.judge_all(panel, heard, send_audio=False)
    report = make_report(run, FACTS, ["row 9: empty"], Judged(heard, recognizer.name, panel))
    write_page(run, report)
    return report


def value(report: Mapping[str, Any], figure: str, of: str, category: str = "all") -> float:
    (row,) = [
        row
        for row in report["figures"]
        if (row["figure"], row["of"], row["category"]) == (figure, of, category)
    ]
    return float(row["value"])


def test_a_run_marks_text_and_sound_and_counts_what_is_missing(tmp_path: Path) -> None:
    examinee, judge = Reckoner(busy=2, fails="4"), RightOrWrong()
    report = whole_run(tmp_path, examinee, judge)
    assert (report["items"], report["answered"], report["failed"]) == (12, 10, 1)
    assert (report["missing_sounds"], report["broken_rows"]) == (1, 1)
    assert value(report, "contains", "text") == pytest.approx(100 * 10 / 11, abs=0.01)
    assert value(report, "contains", "sound") == pytest.approx(100 * 9 / 11, abs=0.01)
    assert value(report, "contains", "text", "odd") == 100.0
    assert value(report, "consistency", "both") > 0
    (judged,) = [r for r in report["figures"] if (r["figure"], r["of"]) == ("correct", "text")][:1]
    assert (judged["invalid"], judged["count"]) == (1, 10)  # the failed one is wrong, unasked
    assert examinee.most > 1
    text = (tmp_path / "report.md").read_text()
    assert "1 without their sound and 1 broken rows" in text
    assert "| all | right answer contained % | 90.91 | 81.82 | -9.09 |" in text


def test_nothing_is_asked_heard_or_judged_twice(tmp_path: Path) -> None:
    judge = RightOrWrong()
    first = whole_run(tmp_path, Reckoner(), judge)
    asked, other = judge.asked, Reckoner()
    again = whole_run(tmp_path, other, judge)
    assert other.asked == []
    assert judge.asked == asked
    assert again == first
    whole_run(tmp_path, Reckoner(), RightOrWrong("another"))
    assert {row["judge"] for row in read_rows(tmp_path / "judgements.jsonl")} == {
        "strict",
        "another",
    }


def test_what_failed_is_asked_again_on_request_alone(tmp_path: Path) -> None:
    whole_run(tmp_path, Reckoner(fails="4"))
    run = Run(tmp_path, questions())
    run.begin(FACTS, retry_failed=True)
    examinee = Reckoner()
    asyncio.run(run.answer_all(examinee))
    assert examinee.asked == ["4 <b>plus</b> one?"]


def test_an_examinee_that_is_gone_ends_the_run_and_keeps_what_it_said(tmp_path: Path) -> None:
    run = Run(tmp_path, questions())
    run.begin(FACTS)
    with pytest.raises(ExamineeGone):
        asyncio.run(run.answer_all(Reckoner(gone="5", places=1)))
    assert [row["id"] for row in read_rows(tmp_path / ANSWERS)] == [f"q/{n}" for n in range(5)]


def test_another_examinee_is_refused_the_folder(tmp_path: Path) -> None:
    Run(tmp_path, []).begin(FACTS)
    with pytest.raises(InputError, match="examinee 'reckoner'"):
        Run(tmp_path, []).begin({**FACTS, "examinee": "other"})


def test_an_ids_path_leads_nowhere() -> None:
    assert "/" not in file_name("../../etc/passwd")
    assert file_name("a/b") != file_name("a_b")


SLOW = """
import asyncio, sys
from pathlib import Path
from step_audio.eval.runs import Run
from tests.eval.test_runs import FACTS, Reckoner, questions

class Slow(Reckoner):
    async def answer(self, turns, tools=()):
        await asyncio.sleep(0.3)
        return await super().answer(turns, tools)

run = Run(Path(sys.argv[1]), questions())
run.begin(FACTS)
asyncio.run(run.answer_all(Slow(places=1)))
"""


def test_a_run_killed_at_a_third_and_gone_on_with_equals_one_in_one_piece(tmp_path: Path) -> None:
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    expected = whole_run(whole, Reckoner(), RightOrWrong())
    working = subprocess.Popen([sys.executable, "-c", SLOW, str(cut)], env=os.environ)
    until = time.monotonic() + 240
    while len(read_rows(cut / ANSWERS)) < 4 and time.monotonic() < until:
        time.sleep(0.02)
    working.send_signal(signal.SIGKILL)
    working.wait()
    assert 4 <= len(read_rows(cut / ANSWERS)) < 12
    with (cut / ANSWERS).open("a") as file:
        file.write('{"id": "q/7", "cat')  # what a cut-off leaves
    assert whole_run(cut, Reckoner(), RightOrWrong()) == expected
    for name in ("items.jsonl", "report.md", "page.html"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
    sounds = {path.name: path.read_bytes() for path in (whole / "sounds").iterdir()}
    assert {path.name: path.read_bytes() for path in (cut / "sounds").iterdir()} == sounds


def test_the_page_lets_one_hear_failures_and_runs_nothing(tmp_path: Path) -> None:
    whole_run(tmp_path, Reckoner(fails="4"), RightOrWrong())
    text = (tmp_path / "page.html").read_text()
    assert "&lt;b&gt;plus&lt;/b&gt;" in text
    assert "<b>plus" not in text
    assert "<script" not in text
    assert "default-src 'none'" in text
    assert text.count("<audio") > 2
    assert list((tmp_path / "questions").glob("q_4-*.wav"))


def test_runs_stand_side_by_side_with_the_papers_rows(tmp_path: Path) -> None:
    whole_run(tmp_path / "a", Reckoner(), RightOrWrong("gpt-4o"))
    whole_run(tmp_path / "b", Reckoner(fails="4"), RightOrWrong("another"))
    runs = open_runs([tmp_path / "a", tmp_path / "b"])
    assert [run.label for run in runs] == ["reckoner", "reckoner (b)"]
    table = markdown(runs)
    assert "Step-Audio-Chat 81*" in table
    assert "The judges differ (reckoner: gpt-4o, reckoner (b): another)" in table
    page = write_comparison(runs, tmp_path / "out").read_text()
    assert "Where they differ: 1 of 12 items" in page
    assert "../a/sounds/" in page
    assert "<svg" in page
    with pytest.raises(InputError):
        open_runs([tmp_path])


def test_the_papers_figures_name_sets_figures_and_sources() -> None:
    for figure in published_figures():
        assert figure.set in SETS
        assert figure.figure in FIGURES
        assert figure.source


def test_a_report_is_read_again(tmp_path: Path) -> None:
    assert whole_run(tmp_path, Reckoner()) == read_report(tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["set"] == "llama-questions"
