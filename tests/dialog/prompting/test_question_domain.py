"""Which typed questions lie outside of what the shipped model knows, and what is shown then."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from step_audio.core.config import load_profile
from step_audio.core.errors import WeightsError
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.conversation import Conversation, Typed
from step_audio.dialog.prompting.question_domain import (
    MOST_WORDS,
    QuestionDomain,
    marked_words,
    read_question_domain,
)
from step_audio.dialog.prompting.typed_questions import in_words
from step_audio.dialog.settings import DialogSettings
from step_audio.nano.domain import generate
from step_audio.nano.domain.carriers import phrasings
from step_audio.nano.exam.typed import typed_questions
from step_audio.nano.training.question_domain import openings, question_pairs
from step_audio.runtime import Runtime
from tests.fakes import VOCAB, ScriptedEngine, services


@pytest.fixture(scope="module")
def domain() -> QuestionDomain:
    return Runtime(load_profile("nano", environ={})).settings().questions


def test_what_nano_was_not_taught_lies_outside(domain: QuestionDomain) -> None:
    kinds = typed_questions()["asked"].values()
    asked = [in_words(question, ("en",)) for questions in kinds for question in questions]
    assert len(asked) == len(set(asked)) == 58
    assert sum(domain.is_outside(question) for question in asked) >= 50


def test_questions_of_the_grammar_in_unseen_phrasings_lie_within(domain: QuestionDomain) -> None:
    rng = random.Random(3)
    held = [q for q in (generate(rng, "held").question for _ in range(400)) if q]
    assert sum(domain.is_outside(question) for question in held) <= 8


@pytest.mark.parametrize(
    ("typed", "outside"),
    [
        ("What time is it in Ouagadougou?", False),  # any place
        ("Repeat after me: my house is red", False),  # any words
        ("tell me about quantum physics", True),
        ("12345 + 67890", False),
        ("???", True),
        ("Что это?", True),
        ("", False),
    ],
)
def test_words_that_may_be_any_are_not_judged(
    typed: str, outside: bool, domain: QuestionDomain
) -> None:
    assert domain.is_outside(in_words(typed, ("en",))) == outside


def test_a_number_is_one_mark_and_the_words_of_a_long_text_are_bounded() -> None:
    assert marked_words(["two", "hundred", "and", "six"], frozenset({"two", "hundred", "six"})) == [
        *("<", "#", "and", "#", ">"),
    ]
    known = QuestionDomain({"<": frozenset({"a", ">"}), "a": frozenset({"a", ">"})}, declined="no")
    assert not known.is_outside("a " * MOST_WORDS + "new " * 1000)


def test_the_list_is_what_the_training_grammar_gives(domain: QuestionDomain) -> None:
    assert domain.openings == openings()
    few = question_pairs(200, seed=7)
    new = [(a, b) for a, behind in few.items() for b in behind if b not in domain.followers[a]]
    assert len(new) < 0.05 * sum(map(len, few.values()))
    declining = phrasings("not_understood/other").by_split["train"]
    assert domain.declined in {carrier.pattern for of_kind in declining for carrier in of_kind}


async def test_the_model_is_shown_a_question_that_it_declines(domain: QuestionDomain) -> None:
    engine = ScriptedEngine([[VOCAB.eot]])
    parts = services(engine)
    settings = DialogSettings(typed_in_words=True, languages=("en",), questions=domain)
    assistant = Assistant(parts, settings)
    for typed, shown in (
        ("Tell me about quantum physics.", domain.declined),
        ("What is the capital of France?", "what is the capital of france"),
    ):
        talk = Conversation()
        talk.add(Typed("a", "human", typed))
        _ = [event async for event in assistant.answer(talk, aloud=False)]
        ids = parts.text_tokenizer.encode(shown)[1:]
        prompt = list(engine.requests[-1].prompt)
        assert any(prompt[at : at + len(ids)] == ids for at in range(len(prompt)))
        assert talk.typed() == [typed]  # the conversation keeps what was typed
    await assistant.aclose()


def test_without_a_list_anything_is_asked() -> None:
    assert QuestionDomain().asked("Explain quantum physics!") == "Explain quantum physics!"
    assert not Runtime(load_profile("scripted", environ={})).settings().questions.followers


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", '{"followers": {"a": 1}, "numbers": "", "openings": [], "declined": "x"}'],
)
def test_a_broken_list_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "questions.json"
    path.write_text(text)
    with pytest.raises(WeightsError):
        read_question_domain(path)
