from collections import Counter

import numpy as np
import pytest

from step_audio.core.types import ToolCall
from step_audio.data.speakers import HELD_NATURAL, speaker
from step_audio.eval.wer import normalise
from step_audio.nano.exam.questions import (
    SEEN_NOISE_DB,
    TOOL_SEED,
    Exam,
    build_exam,
    nonsense,
    speak,
    text_hash,
    training_hashes,
)
from step_audio.nano.tools.toolbox import FakeTools


@pytest.fixture(scope="module")
def exam() -> Exam:
    return build_exam(18, training_texts=2_000)


def test_four_of_nine_are_natural_four_seen_in_noise_one_an_unseen_machine(exam: Exam) -> None:
    voices = Counter(q.speaker for q in exam.questions)
    assert sum(voices[name] for name in HELD_NATURAL) == 8
    assert all(voices[name] for name in HELD_NATURAL)
    assert voices["festival-ked"] + voices["espeak-en-us+klatt4"] == 2
    assert sum(q.seen_voice for q in exam.questions) == 8
    assert {q.noise_db for q in exam.questions if q.seen_voice} == {SEEN_NOISE_DB}
    assert {q.noise_db for q in exam.questions if not q.seen_voice} == {None}


def test_the_whole_examination_asks_two_hundred_of_each_main_group() -> None:
    whole = build_exam(training_texts=2_000)
    assert sum(q.natural_voice for q in whole.questions) == 200
    assert sum(q.seen_voice for q in whole.questions) == 200
    assert {q.speaker for q in whole.questions if q.natural_voice} == set(HELD_NATURAL)
    assert {speaker(q.speaker).split for q in whole.questions if not q.seen_voice} == {"held"}


def test_no_question_is_asked_twice_or_known_from_training(exam: Exam) -> None:
    hashes = [text_hash(q.sample.question) for q in (*exam.questions, *exam.sums)]
    assert len(set(hashes)) == len(hashes)
    assert not set(hashes) & training_hashes(2_000, seed=1)


def test_equal_arguments_give_the_same_examination(exam: Exam) -> None:
    assert build_exam(18, training_texts=2_000).hash == exam.hash
    assert build_exam(18, seed=1, training_texts=2_000).hash != exam.hash


def test_sums_have_two_digits_on_both_sides(exam: Exam) -> None:
    assert len(exam.sums) == 2
    assert all(q.sample.intent == "sum" for q in exam.sums)


def test_pairs_differ_in_words_and_answer_but_not_in_carrier(exam: Exam) -> None:
    assert len(exam.pairs) == 2
    for one, other in exam.pairs:
        assert one.sample.carrier == other.sample.carrier
        assert one.sample.answer != other.sample.answer
        assert one.speaker == other.speaker


def test_questions_stand_alone_and_have_key_words(exam: Exam) -> None:
    for question in exam.questions:
        assert not question.sample.history
        assert question.sample.key_words
        assert normalise(question.sample.question)


async def test_right_answers_are_built_on_the_fake_tools_of_the_exam(exam: Exam) -> None:
    tools = FakeTools(TOOL_SEED)
    called = [q.sample for q in (*exam.questions, *exam.sums) if q.sample.call is not None]
    assert called
    for sample in called:
        assert sample.call is not None
        assert (await tools.call(ToolCall("c", *sample.call))).output == sample.result


def test_spoken_questions_are_16_khz_speech(exam: Exam, speech_tools: None) -> None:
    for question, pcm in zip(exam.questions[:4], speak(exam.questions[:4]), strict=True):
        assert pcm.dtype == np.float32
        assert 0.2 < len(pcm) / 16_000 < 15.0, question
        assert np.abs(pcm).max() <= 1.0


def test_nonsense_is_silence_noise_and_foreign_speech(speech_tools: None) -> None:
    kinds = Counter(kind for kind, pcm in nonsense() if len(pcm) >= 8_000)
    assert kinds == {"silence": 2, "noise": 3, "foreign": 8}
