from pathlib import Path

import numpy as np
import pytest

from step_audio.core.errors import InputError
from step_audio.core.types import Pcm, ToolCall
from step_audio.data.speakers import HELD_NATURAL
from step_audio.eval.examinee import AnswerRecord
from step_audio.nano.exam import gate
from step_audio.nano.exam.bars import Score
from step_audio.nano.exam.questions import ExamQuestion, build_exam, text_hash
from tests.machine_voices import needs_machine_voices

KEPT = {key: Score(0.5, count=50, interval=(0.4, 0.6)) for key in gate.GATED}


def _with(key: str, value: float | None) -> dict[str, Score]:
    return {**KEPT, key: Score(value)}


@pytest.fixture
def figures(tmp_path: Path) -> Path:
    gate.keep(KEPT, tmp_path / "gate.json")
    return tmp_path / "gate.json"


def test_equal_scores_pass(figures: Path) -> None:
    assert gate.losses(KEPT, figures) == []


@pytest.mark.parametrize("key", gate.GATED)
def test_a_score_may_move_within_its_interval_and_beyond_it_to_the_better(
    key: str, figures: Path
) -> None:
    worse, better = (0.39, 1.0) if gate.GATED[key] == "higher" else (0.61, 0.0)
    assert gate.losses(_with(key, 0.41), figures) == gate.losses(_with(key, 0.59), figures) == []
    assert gate.losses(_with(key, better), figures) == []
    (lost,) = gate.losses(_with(key, worse), figures)
    assert lost == f"{key} is {worse:.3f}, outside 0.400 to 0.600"


def test_what_was_not_measured_is_lost(figures: Path) -> None:
    assert gate.losses(_with("right_call", None), figures) == ["right_call was not measured"]


def test_figures_without_an_interval_say_so(tmp_path: Path) -> None:
    (tmp_path / "gate.json").write_text("{}")
    with pytest.raises(InputError, match="right_natural"):
        gate.losses(KEPT, tmp_path / "gate.json")


def test_shipped_figures_hold_an_interval_of_every_score() -> None:
    assert gate.losses({key: Score(None) for key in gate.GATED}) == [
        f"{key} was not measured" for key in gate.GATED
    ]


def test_the_gate_asks_other_questions_than_the_examination() -> None:
    asked = gate.questions()
    assert sum(q.natural_voice for q in asked) == gate.NATURAL
    assert {q.speaker for q in asked[: gate.NATURAL]} == set(HELD_NATURAL)
    exam = build_exam(training_texts=2_000)
    taken = {text_hash(q.sample.question) for q in (*exam.questions, *exam.sums)}
    again = sum(text_hash(q.sample.question) in taken for q in asked)
    assert again <= len(asked) // 10  # short questions happen twice


class Echo:
    """Hears what it is told."""

    def hear(self, pcm: Pcm, rate_hz: int, /) -> str:
        return "sorry"


@needs_machine_voices
def test_scores_come_from_text_calls_transcripts_and_sound() -> None:
    drawn = [q for q in gate.questions() if q.sample.call is not None][:2]
    asked = [
        ExamQuestion(drawn[0].sample, "flite-rms", 15.0),
        ExamQuestion(drawn[1].sample, "flite-slt", 15.0),
    ]
    sample, heard = drawn[0].sample, iter(q.sample for q in asked)

    def answerer(pcm: Pcm, rate_hz: int) -> AnswerRecord:
        said = next(heard).question
        calls = (ToolCall("c", *sample.call),) if sample.call else ()
        return AnswerRecord(said, sample.answer, calls, np.ones(10, np.float32), 16_000)

    scores = gate.measure(answerer, Echo(), asked)
    assert scores["right_noisy"].value in (0.5, 1.0)
    assert scores["right_call"].count == 2
    assert scores["right_natural"].value is None
    assert scores["answer_wer"].value == 1.0
