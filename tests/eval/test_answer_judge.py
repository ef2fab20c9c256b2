"""The judge of sampled answers: right words, right call, a sound that says them."""

from __future__ import annotations

import pytest

from step_audio.core.types import Pcm
from step_audio.dialog.prompting.prompt import Call, Heard, Part, PromptBuilder, Spoken, Text
from step_audio.eval.answer_judge import AnswerJudge
from tests.fakes import VOCAB, ByteTokenizer, MemoryVoices, SineVocoder, group

BUILDER = PromptBuilder(ByteTokenizer(), VOCAB)
GROUPS = (group(1), group(2), group(3))
RIGHT = (Heard("what time"), Spoken("it is noon", GROUPS))


def score(given: tuple[Part, ...], right: tuple[Part, ...] = RIGHT, heard: str = "") -> float:
    def hear(pcm: Pcm, rate_hz: int) -> str:
        return heard

    judge = AnswerJudge(
        *(ByteTokenizer(), VOCAB),
        hear if heard else None,
        SineVocoder(),
        MemoryVoices("v").get("v"),
    )
    return judge.score(BUILDER.content(right), [*BUILDER.content(given), VOCAB.eot])


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (RIGHT, 1.0),
        ((Heard("what time"), Spoken("it is night", GROUPS)), 2 / 3),
        ((Heard("what lime"), Spoken("it is noon", GROUPS)), 1 / 2),
        ((Heard("what time"), Text("it is noon")), 0.0),  # no sound
        ((Heard("what time"), Call("get_time", "{}")), 0.0),
        ((), 0.0),
    ],
)
def test_an_answer_scores_by_its_words_and_its_sound(
    given: tuple[Part, ...], wanted: float
) -> None:
    assert score(given) == pytest.approx(wanted)


def test_a_sound_that_says_something_else_costs() -> None:
    assert score(RIGHT, heard="it is noon") == 1.0
    assert score(RIGHT, heard="it was noon") == pytest.approx(2 / 3)


def test_a_call_is_right_or_not() -> None:
    right = (Call("set_timer", '{"seconds":60}'),)
    assert score((Call("set_timer", '{"seconds": 60.0}'),), right) == 1.0
    assert score((Call("set_timer", '{"seconds":6}'),), right) == 0.0


def test_ids_out_of_order_score_nothing() -> None:
    judge = AnswerJudge(ByteTokenizer(), VOCAB)
    right = BUILDER.content(RIGHT)
    broken = [*right[:-2], right[-1], right[-2]]
    assert judge.score(right, right) == 1.0
    assert judge.score(right, broken[:-1]) == 0.0
