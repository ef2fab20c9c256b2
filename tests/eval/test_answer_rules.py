"""Rules of rewards: calls, refusals, form, and a chat judge's rating."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from step_audio.dialog.prompting.prompt import Call, Heard, Part, PromptBuilder, Spoken, Text, Turn
from step_audio.eval.answer_judge import AnswerJudge
from step_audio.eval.answer_rules import AnswerRules
from step_audio.eval.scores.judges import JudgePanel
from tests.fakes import VOCAB, ByteTokenizer, group

BUILDER = PromptBuilder(ByteTokenizer(), VOCAB)
NOON = (Heard("what time"), Spoken("it is noon", (group(1), group(2))))
SORRY = (Text("sorry i did not understand"),)
TIMER, OTHER = Call("set_timer", '{"seconds":60}'), Call("set_timer", '{"seconds":6}')


class Rater:
    """A chat model that rates what it was shown."""

    model = "rater"

    def __init__(self, said: str) -> None:
        self.said, self.shown = said, ""

    def complete(self, messages: Sequence[Mapping[str, Any]], **settings: Any) -> str:
        self.shown = messages[0]["content"]
        return self.said


def rules(panel: JudgePanel | None = None) -> AnswerRules:
    return AnswerRules(AnswerJudge(ByteTokenizer(), VOCAB), VOCAB, panel=panel)


def score(name: str, right: tuple[Part, ...], given: tuple[Part, ...]) -> float | None:
    prompt = BUILDER.chat([Turn("human", (Text("what time"),))])
    ids = [*BUILDER.content(given), VOCAB.eot]
    return rules().named()[name](prompt, BUILDER.content(right), ids)


@pytest.mark.parametrize(
    ("right", "given", "wanted"),
    [
        ((TIMER,), (Call("set_timer", '{"seconds": 60.0}'),), 1.0),
        ((TIMER,), (OTHER,), 0.0),
        ((TIMER,), NOON, 0.0),
        (NOON, (TIMER,), 0.0),  # a call that nobody needed
        (NOON, SORRY, None),
        ((TIMER,), (TIMER, TIMER), 0.0),
    ],
)
def test_calls_are_those_of_the_right_answer(
    right: tuple[Part, ...], given: tuple[Part, ...], wanted: float | None
) -> None:
    assert score("calls", right, given) == wanted


@pytest.mark.parametrize(
    ("right", "given", "wanted"),
    [(SORRY, SORRY, 1.0), (SORRY, NOON, 0.0), (NOON, SORRY, 0.0), (NOON, NOON, 1.0)],
)
def test_noise_is_refused_and_a_clear_question_is_not(
    right: tuple[Part, ...], given: tuple[Part, ...], wanted: float
) -> None:
    assert score("refusals", right, given) == wanted


def test_without_a_right_answer_only_the_form_is_judged() -> None:
    ids = BUILDER.content(NOON)
    named = rules().named()
    found = {name: rule([4], [], ids) for name, rule in named.items()}
    assert found == {"judge": None, "calls": None, "refusals": None, "form": 1.0}
    # A lone linguistic id is no group.
    assert named["form"]([4], [], [VOCAB.audio_base, VOCAB.eot]) == 0.0
    assert named["form"]([4], [], [VOCAB.eot]) == 0.0


def test_a_chat_model_rates_the_words_and_is_told_the_question() -> None:
    rater = Rater("A fine answer. [[8]]")
    panel = JudgePanel(rater)
    prompt = BUILDER.chat([Turn("human", (Text("which typed question"),))])
    right, given = BUILDER.content(NOON), BUILDER.content((Text("it is night"),))
    assert rules(panel).named()["endpoint"](prompt, right, given) == 0.8
    assert all(words in rater.shown for words in ("what time", "it is noon", "it is night"))
    rules(panel).endpoint(prompt, BUILDER.content((Text("noon"),)), given)
    assert "which typed question" in rater.shown
    assert rules(JudgePanel(Rater("fine"))).endpoint(prompt, right, given) is None
