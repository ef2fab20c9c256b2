"""Questions in roles: which are asked, and what counts as an answer in one."""

from collections import Counter

import numpy as np

from step_audio.core.types import Pcm
from step_audio.data.speakers import HELD_NATURAL
from step_audio.dialog.role_play.cards import load_cards
from step_audio.eval.examinee import AnswerRecord
from step_audio.nano.exam.questions import SEED, ExamQuestion, text_hash, training_hashes
from step_audio.nano.exam.roles import (
    RoleAnswer,
    examine_roles,
    role_questions,
    role_row,
    role_scores,
    role_table,
    role_words,
)

ASKED = role_questions(16, texts=500)
SILENCE = [np.zeros(160, np.float32)] * len(ASKED)


def test_the_questions_are_new_and_spoken_by_voices_that_nano_never_heard() -> None:
    seen = training_hashes(500, SEED)
    hashes = [text_hash(question.sample.question) for question in ASKED]
    assert len(set(hashes)) == len(ASKED)
    assert not seen & set(hashes)
    assert {question.speaker for question in ASKED} <= set(HELD_NATURAL)
    assert role_questions(16, texts=500) == ASKED


def test_each_role_is_asked_equally_often_under_the_name_of_its_card() -> None:
    asked: list[str] = []

    def answerer(role: str, pcm: Pcm, rate_hz: int) -> AnswerRecord:
        asked.append(role)
        return AnswerRecord(text="Ahoy!")

    assert len(list(examine_roles(answerer, ASKED, sounds=SILENCE))) == len(ASKED)
    assert set(Counter(asked).values()) == {2}
    assert set(asked) == set(role_words()) <= set(load_cards())


def test_right_and_in_role_are_counted_apart_and_together() -> None:
    def answered(text: str, question: ExamQuestion = ASKED[0]) -> RoleAnswer:
        return RoleAnswer("pirate", question, AnswerRecord(text=text))

    right = ASKED[0].sample.answer
    answers = [
        answered(f"Ahoy! {right}"),
        answered(right),
        answered("Ahoy! Sorry, I did not get that."),
        answered(f"Beep! {right}"),
        answered(""),
    ]
    scores = role_scores(answers)
    assert (scores["right"].value, scores["in_role"].value) == (0.6, 0.4)
    assert scores["right_in_role"].value == 0.2
    assert "| right in role | 1 of 5 | 0.20 |" in role_table(answers)
    assert "| pirate: right in role | 1 of 5 |" in role_table(answers)
    assert role_row(answers[0])["expected"] == f"Ahoy! {right}"


def test_with_a_judge_what_is_heard_counts_and_not_the_text() -> None:
    record = AnswerRecord(text=f"Ahoy! {ASKED[0].sample.answer}")
    assert RoleAnswer("pirate", ASKED[0], record).in_role
    assert not RoleAnswer("pirate", ASKED[0], record, heard="a toy").in_role
    assert not RoleAnswer("pirate", ASKED[0], record, heard="a toy").right
