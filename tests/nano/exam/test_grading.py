import random
from dataclasses import replace

import pytest

from step_audio.core.types import ToolCall
from step_audio.eval.examinee import AnswerRecord
from step_audio.nano.domain import QaSample, Split, generate
from step_audio.nano.exam.grading import (
    Graded,
    by_intent,
    call_share,
    changed_share,
    is_right,
    needless_calls,
    refused_share,
    right_share,
    shuffled_share,
    transcript_scores,
)
from step_audio.nano.exam.questions import ExamQuestion

CALL = ("get_weather", '{"city":"Oslo"}')


def _graded(city: str, heard: str, record: AnswerRecord | None = None) -> Graded:
    answer = f"It is sunny in {city}."
    sample = QaSample(
        "weather",
        f"how is the weather in {city}",
        ("get_weather", f'{{"city":"{city}"}}'),
        '{"condition":"sunny"}',
        answer,
        "weather/how",
        (city,),
        ("sunny", city),
    )
    question = ExamQuestion(sample, "festival-ked")
    return Graded(question, record or AnswerRecord(), heard, answer.lower())


RIGHT = [_graded(c, f"it is sunny in {c}") for c in ("oslo", "rome", "paris", "berlin")]


def test_answer_is_right_when_its_key_words_are_heard_in_order() -> None:
    assert is_right(RIGHT[0].question.sample, "well it is sunny today in oslo")
    assert not is_right(RIGHT[0].question.sample, "it is sunny in rome")
    assert not is_right(RIGHT[0].question.sample, "oslo is sunny")


def test_a_longer_number_is_another_number() -> None:
    answer = "Thirty plus ten is forty."
    call = ("calculate", '{"expression":"30+10"}')
    sample = QaSample("sum", "q", call, "{}", answer, "sum/x", ("thirty", "ten"), ("forty",))
    assert is_right(sample, "thirty plus ten is forty")
    assert not is_right(sample, "thirty plus ten is forty two")
    assert not is_right(sample, "thirty plus forty is ten")


@pytest.mark.parametrize("split", ["train", "held"])
def test_every_expected_answer_is_right_as_written(split: Split) -> None:
    rng = random.Random(4)
    samples = [generate(rng, split) for _ in range(1_500)]
    wrong = [s.answer for s in samples if s.intent != "spell" and not is_right(s, s.answer)]
    assert wrong == []


def test_score_stands_beside_its_ceiling() -> None:
    score = right_share([*RIGHT[:3], _graded("cairo", "it is rainy in cairo")])
    assert (score.value, score.ceiling, score.count) == (0.75, 1.0, 4)


def test_shuffled_answers_fall_to_nothing_where_answers_differ() -> None:
    score = shuffled_share(RIGHT)
    assert (score.value, score.count) == (0.0, 12)


def test_call_needs_name_and_arguments() -> None:
    good = AnswerRecord(calls=(ToolCall("1", *CALL),))
    late = AnswerRecord(calls=(ToolCall("1", "get_date", "{}"), ToolCall("2", *CALL)))
    graded = [_graded("Oslo", "", good), _graded("Rome", "", good), _graded("Oslo", "", late)]
    assert call_share(graded).value == pytest.approx(1 / 3)


def test_needless_calls_are_counted_where_none_is_due() -> None:
    knows = replace(RIGHT[0].question.sample, call=None, result=None)
    called = AnswerRecord(calls=(ToolCall("1", *CALL),))
    graded = [Graded(ExamQuestion(knows, "flite-rms"), r, "", "") for r in (called, AnswerRecord())]
    assert needless_calls(graded).value == 0.5


def test_pairs_count_as_changed_only_with_two_different_answers() -> None:
    a, b = AnswerRecord(text="It is forty."), AnswerRecord(text="it is fifty")
    silent = AnswerRecord()
    assert changed_share([(a, b), (a, a), (silent, a)]).value == pytest.approx(1 / 3)


def test_refusal_is_recognised_in_either_of_its_forms() -> None:
    texts = [
        "Sorry, I did not understand.",
        "Sorry, I can not do that. I can do sums, time, weather and facts.",
        "It is sunny.",
        "",
    ]
    assert refused_share([AnswerRecord(text=t) for t in texts]).value == 0.5


def test_transcripts_are_measured_only_when_there_are_any() -> None:
    assert transcript_scores(RIGHT) == {"wer": None, "exact": None}
    record = AnswerRecord(transcript="how is the weather in oslo")
    scores = transcript_scores([replace(RIGHT[0], record=record)])
    assert scores == {"wer": 0.0, "exact": 1.0}


def test_intents_are_reported_apart() -> None:
    wrong = _graded("cairo", "hello")
    assert by_intent([*RIGHT, wrong])["weather"] == {"asked": 5, "right": 4, "ceiling": 5}
