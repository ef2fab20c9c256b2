import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from step_audio.core.types import Pcm, ToolCall
from step_audio.data.speakers import speaker
from step_audio.data.synthesis import synthesize
from step_audio.eval.examinee import AnswerRecord
from step_audio.nano.domain import QaSample
from step_audio.nano.exam import examination as nano
from step_audio.nano.exam.bars import BarReport
from step_audio.nano.exam.judge import domain_judge
from step_audio.nano.exam.questions import Exam, ExamQuestion, build_exam, speak

REFUSAL = "Sorry, I did not understand."
COUNT = 18


@pytest.fixture(scope="module")
def exam() -> Exam:
    return build_exam(COUNT, training_texts=500)


class SourceAnswerer:
    """Answers every question of the exam as the source voice would say the right answer."""

    def __init__(self, exam: Exam) -> None:
        pairs = [question for pair in exam.pairs for question in pair]
        self._known: dict[bytes, QaSample] = {}
        for part in (exam.questions, exam.sums, pairs):
            self._learn(part)

    def _learn(self, questions: Iterable[ExamQuestion]) -> None:
        asked = list(questions)
        for question, pcm in zip(asked, speak(asked), strict=True):
            self._known[pcm.tobytes()] = question.sample

    def __call__(self, pcm: Pcm, rate_hz: int) -> AnswerRecord:
        sample = self._known.get(pcm.tobytes())
        if sample is None:
            return AnswerRecord(text=REFUSAL)
        sound, rate = synthesize(sample.answer, speaker("flite-rms"))
        calls = (ToolCall("c", *sample.call),) if sample.call else ()
        return AnswerRecord(sample.question, sample.answer, calls, sound, rate, 300.0, 0.3)


@pytest.fixture(scope="module")
def report(
    exam: Exam, tmp_path_factory: pytest.TempPathFactory, speech_tools: None
) -> tuple[BarReport, Path]:
    out = tmp_path_factory.mktemp("exam")
    (out / "weights").mkdir()
    (out / "weights" / "w.bin").write_bytes(bytes(2_000_000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nano, "dnsmos", lambda sounds: None)  # half a CPU second a sound
        made = nano.run(
            SourceAnswerer(exam),
            _same,
            out,
            COUNT,
            reader=lambda text: synthesize(text, speaker("flite-rms")),
            weights_dir=out / "weights",
            exam=exam,
            judge=domain_judge(),  # Whisper takes a second for each sound
        )
    return made, out


def _same(pcm: Pcm, rate_hz: int) -> tuple[Pcm, int]:
    return pcm, rate_hz


@pytest.mark.slow
def test_right_answers_in_the_source_voice_score_their_ceiling(
    report: tuple[BarReport, Path],
) -> None:
    scores = report[0].scores
    for key in ("right_natural_voice", "right_unseen_voice", "right_seen_voice", "right_sums"):
        assert scores[key].value == scores[key].ceiling
        assert (scores[key].value or 0.0) >= 0.75, key
    assert scores["right_call"].value == 1.0
    assert scores["other_word"].value == 1.0
    assert scores["refuses_nonsense"].value == 1.0
    assert scores["transcript_wer"].value == 0.0
    assert scores["answer_wer"].value == scores["answer_wer"].ceiling
    assert (scores["answer_wer"].value or 0.0) < 0.12
    # The ceiling's text is without its full stop.
    assert scores["open_wer"].value == pytest.approx(scores["open_wer"].ceiling, abs=0.1)
    low, high = scores["right_natural_voice"].interval or (0.0, 0.0)
    assert low < (scores["right_natural_voice"].value or 0.0) <= high


@pytest.mark.slow
def test_shuffled_answers_fall_to_chance(report: tuple[BarReport, Path]) -> None:
    assert (report[0].scores["shuffled"].value or 0.0) < 0.12


@pytest.mark.slow
def test_resynthesis_that_changes_nothing_scores_its_ceiling(
    report: tuple[BarReport, Path],
) -> None:
    for key in ("resynthesis_seen", "resynthesis_unseen"):
        assert report[0].scores[key].value == report[0].scores[key].ceiling


@pytest.mark.slow
def test_report_is_written_as_json_table_and_questions(report: tuple[BarReport, Path]) -> None:
    made, out = report
    written = json.loads((out / "report.json").read_text())
    assert written["exam"] == made.exam_hash
    values = {bar["key"]: bar["value"] for bar in written["bars"]}
    assert (values["weights_mb"], values["first_audio_p50_ms"]) == (2.0, 300.0)
    assert "| first audio p50, ms | 350 | 200 | 300 |" in (out / "report.md").read_text()
    rows = [json.loads(line) for line in (out / "questions.jsonl").read_text().splitlines()]
    assert len(rows) == COUNT + len(build_exam(COUNT, training_texts=500).sums)
    assert all(row["expected"] == row["text"] for row in rows)


class Deaf:
    """Hears nothing in anything."""

    def hear(self, pcm: Pcm, rate_hz: int, /) -> str:
        return ""


@pytest.mark.slow
def test_silent_system_scores_nothing(exam: Exam, tmp_path: Path, speech_tools: None) -> None:
    def silent(pcm: Pcm, rate_hz: int) -> AnswerRecord:
        return AnswerRecord(pcm=np.zeros(0, dtype=np.float32))

    small = Exam(exam.questions[:4], exam.sums[:1], exam.pairs[:1], "small", 0)
    made = nano.run(silent, None, tmp_path, 4, exam=small, judge=Deaf())
    zero = ("right_natural_voice", "right_seen_voice", "right_sums", "right_call", "other_word")
    assert [made.scores[key].value for key in zero] == [0.0] * 5
    assert not made.passed()
    assert made.scores["answer_wer"].value is None
