"""Normalisers against worked examples, answers that a program marks, verdicts of judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from step_audio.core.error_rates import edits
from step_audio.core.types import ToolCall
from step_audio.eval.scores.answers import chosen_letter, closed_answer, contains, refuses
from step_audio.eval.scores.judges import SHAPES, JudgedAnswer, JudgePanel
from step_audio.eval.scores.marks import FIGURES, Mark, figure_rows
from step_audio.eval.scores.normalisers import ERROR_RULES
from step_audio.eval.scores.rules import RULES, Said, consistency
from step_audio.eval.sets.items import Item, UserTurn
from tests.eval.normaliser_cases import CASES, Case

pytest.importorskip("whisper_normalizer", reason="needs the extra `eval`")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}: {case[1]}")
def test_errors_and_units_are_those_worked_out(case: Case) -> None:
    rule, reference, hypothesis, errors, size, _ = case
    units = ERROR_RULES[rule].units
    assert (edits(units(reference), units(hypothesis)), len(units(reference))) == (errors, size)


def test_pooled_rates_add_up_and_mean_rates_do_not() -> None:
    assert ERROR_RULES["wer_en"].errors("THE CAT SAT", "the cat") == (1.0, 3.0)
    assert ERROR_RULES["seed_en"].errors("the cat sat on", "the cat sat") == (0.25, 1.0)
    assert ERROR_RULES["seed_en"].errors("...", "what") == (1.0, 1.0)
    assert ERROR_RULES["cer_zh"].errors("。", "好") == (1.0, 0.0)


@pytest.mark.parametrize(
    ("aliases", "answer", "right"),
    [
        (["Paris"], "The capital of France is paris.", True),
        (["Paris"], "The capital is Parisian.", False),
        (["42"], "Twelve plus thirty is forty two.", True),
        (["42"], "It is 420.", False),
        (["Beyoncé Knowles", "Beyonce"], "That was beyonce!", True),
        (["北京"], "中国的首都是北京。", True),
        (["三"], "答案是3。", True),
        (["Paris"], "", False),
    ],
)
def test_an_alias_counts_as_whole_words(aliases: list[str], answer: str, right: bool) -> None:
    assert contains(aliases, answer) is right


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("The answer is B.", "B"),
        ("Answer: (c)", "C"),
        ("A. Photosynthesis", "A"),
        ("a cat is a mammal", ""),
        ("I would choose option D because a leaf is green", "D"),
        ("I think (B) fits", "B"),
        ("It must be C, I think", "C"),
        ("I do not know", ""),
        ("A cat sat on a mat and I do not know", ""),
    ],
)
def test_the_letter_of_a_choice(answer: str, letter: str) -> None:
    assert chosen_letter(answer) == letter


@pytest.mark.parametrize(
    ("wanted", "answer", "right"),
    [
        ("Yes", "Let us see: no, wait. Yes, you return.", True),
        ("No", "Yes.", False),
        ("valid", "So the argument is not valid.", False),
        ("invalid", "So the argument is not valid.", True),
        ("7", "Three and four make seven.", True),
        ("7", "There are seven in all, out of 9.", False),
        ("(B)", "The answer is B", True),
        ("plausible", "That is implausible", False),
    ],
)
def test_a_closed_answer_counts_by_its_last_word(wanted: str, answer: str, right: bool) -> None:
    assert closed_answer(wanted, answer) is right


def test_refusals() -> None:
    assert refuses("I'm sorry, but I can't help with that.")
    assert refuses("很抱歉，我无法提供帮助。")
    assert not refuses("Sure, first you take a screwdriver.")
    assert not refuses("")


def tool_item(tool: str, arguments: str = "") -> Item:
    facts = {"tool": tool, "arguments": arguments}
    return Item("x", "answer", "toolcall", (UserTurn("hm"),), facts=facts)


def test_calls_are_marked_by_precision_recall_type_and_arguments() -> None:
    mark = RULES["toolcall"].mark
    assert mark is not None

    def marks(item: Item, *calls: tuple[str, str]) -> dict[str, float]:
        said = Said("", tuple(ToolCall("1", *call) for call in calls))
        return {m.figure: m.got for m in mark(item, said, "text")}

    due = tool_item("get_weather", '{"city": "Paris"}')
    right = {"trigger_precision": 1.0, "trigger_recall": 1.0, "call_type": 1.0}
    assert marks(due, ("get_weather", '{"city":"paris"}')) == {**right, "call_arguments": 1.0}
    assert marks(due, ("get_weather", "{}")) == {**right, "call_arguments": 0.0}
    assert marks(due, ("web_search", "{}")) == {**right, "call_type": 0.0}
    assert marks(due) == {"trigger_recall": 0.0}
    assert marks(tool_item(""), ("web_search", "{}")) == {"trigger_precision": 0.0}
    assert marks(tool_item("")) == {}


def test_what_the_sound_says_is_held_against_the_text() -> None:
    same = consistency("It is 42 degrees.", "it is forty two degrees")
    assert (same.got, same.of) == (0.0, "both")
    assert consistency("四十二度", "四十三度").got == 0.25


@pytest.mark.parametrize(
    ("shape", "text", "verdict"),
    [
        ("stepeval", 'So: {"factuality": 1, "relevance": 0, "chat": 5, "why": "x"}',
         {"factuality": 1.0, "relevance": 0.0, "chat": 5.0}),
        ("stepeval", '{"factuality": 2, "relevance": 1, "chat": 3}', None),
        ("stepeval", '{"factuality": 1, "relevance": 1, "chat": 9}', None),
        ("stepeval", '{"factuality": null}', None),
        ("stepeval", "{" * 5000, None),
        ("correct", "It names Paris. the score is [Correct]", {"correct": 1.0}),
        ("correct", "not [Correct], so the score is [Incorrect]", {"correct": 0.0}),
        ("correct", "Correct", None),
        ("alias", '{"analysis": "same", "judgment": "correct"}', {"correct": 1.0}),
        ("alias", '{"judgment": "maybe"}', None),
        ("rating10", "Good, [[3]] or rather [[8]]", {"rating10": 8.0}),
        ("rating10", "[[11]]", None),
        ("reasoning", "推理正确。\n[4]", {"reasoning": 4.0}),
        ("reasoning", "[9]", None),
        ("open5", "4", {"rating": 4.0}),
        ("open5", " 4.", {"rating": 4.0}),
        ("open5", "I give 4", None),
        ("yesno", "Yes.", {"yes": 1.0}),
        ("yesno", "nothing", None),
        ("uro_open", "3", {"uro": 60.0}),
        ("uro_answer", "No", {"uro": 0.0}),
        ("paralinguistic", "是", {"correct": 1.0}),
        ("paralinguistic", "否。", {"correct": 0.0}),
        ("arguments", "yes", {"call_arguments_judged": 1.0}),
    ],
)  # fmt: skip
def test_verdicts_of_the_shapes(shape: str, text: str, verdict: dict[str, float] | None) -> None:
    assert SHAPES[shape].parse(text) == verdict


class Scripted:
    """A judge that says what it is told to, in turn."""

    model = "scripted"

    def __init__(self, *replies: str) -> None:
        self._replies = list(replies)
        self.asked: list[tuple[Sequence[Mapping[str, Any]], dict[str, Any]]] = []

    def complete(self, messages: Sequence[Mapping[str, Any]], **settings: Any) -> str:
        self.asked.append((messages, settings))
        return self._replies.pop(0)


ASKED = JudgedAnswer("Sing", "Person: hm", "hm?", "{reference} la", "do; re")


def test_three_verdicts_are_averaged_and_those_that_are_none_left_out() -> None:
    endpoint = Scripted("5", "so good", "2")
    verdict, said = JudgePanel(endpoint).judge("open5", ASKED)
    assert verdict == {"rating": 3.5}
    assert said == ["5", "so good", "2"]
    assert [settings["temperature"] for _, settings in endpoint.asked] == [0.5] * 3
    assert len({settings["seed"] for _, settings in endpoint.asked}) == 3


def test_a_majority_decides_yes_and_no_and_none_of_three_is_invalid() -> None:
    assert JudgePanel(Scripted("Yes", "no", "yes")).judge("yesno", ASKED)[0] == {"yes": 1.0}
    assert JudgePanel(Scripted("hm", "?", "!")).judge("yesno", ASKED)[0] is None


def test_an_answer_brings_in_no_placeholder_and_prompts_can_be_given(tmp_path: Path) -> None:
    endpoint = Scripted('{"judgment": "correct"}', '{"judgment": "correct"}')
    JudgePanel(endpoint).judge("alias", ASKED)
    text = endpoint.asked[0][0][0]["content"]
    assert "Answer: {reference} la" in text
    assert "do; re" in text
    (tmp_path / "judge_alias.txt").write_text("mine: {answer}")
    other = JudgePanel(endpoint, tmp_path)
    other.judge("alias", ASKED)
    assert endpoint.asked[1][0][0]["content"] == "mine: {reference} la"
    assert other.key("alias", ASKED) != JudgePanel(endpoint).key("alias", ASKED)


def test_every_rule_and_every_shape_reports_known_figures() -> None:
    for rule in RULES.values():
        assert rule.mark is not None or rule.judges or rule.unscored
        assert all(shape in SHAPES for shape in rule.judges)
    assert all(figure in FIGURES for shape in SHAPES.values() for figure in shape.worst)
    for shape in SHAPES.values():
        assert JudgePanel(Scripted()).prompt(shape.prompt)


def test_figures_have_intervals_and_count_invalid_ones_apart() -> None:
    marks = {
        "a": [Mark("correct", "text", 1.0), Mark("wer", "text", 1.0, 4.0)],
        "b": [Mark("correct", "text", 0.0), Mark("wer", "text", 0.0, 6.0)],
        "c": [Mark("correct", "text", invalid=True)],
    }
    rows = figure_rows(marks, {"a": "x", "b": "", "c": "x"})
    whole = {(row.category, row.figure): row for row in rows}
    assert (whole["all", "correct"].value, whole["all", "correct"].invalid) == (50.0, 1)
    assert whole["all", "wer"].value == 10.0
    assert (whole["x", "correct"].count, whole["x", "correct"].invalid) == (1, 1)
    low, high = whole["all", "correct"].low, whole["all", "correct"].high
    assert low is not None
    assert high is not None
    assert low < 50.0 < high
