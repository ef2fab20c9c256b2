import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache

import pytest

from step_audio.core.toolformat import FAILED
from step_audio.core.types import ToolCall
from step_audio.nano.domain import (
    INTENTS,
    QaSample,
    Split,
    generate,
    generate_intent,
    number_words,
    spoken_words,
    vocabulary,
)
from step_audio.nano.domain.carriers import held_combo, load
from step_audio.nano.domain.tool_questions import amount_key, cities, pair_key
from step_audio.nano.tools.arithmetic import evaluate
from step_audio.nano.tools.specs import SPECS
from step_audio.nano.tools.toolbox import FakeTools
from step_audio.tools import parse_arguments

N = 4000


@cache
def samples(split: Split) -> tuple[QaSample, ...]:
    rng = random.Random(11)
    return tuple(generate(rng, split) for _ in range(N))


def turns(split: Split) -> Iterator[QaSample]:
    for sample in samples(split):
        yield from sample.history
        yield sample


BOTH: tuple[Split, ...] = ("train", "held")


def test_the_same_seed_gives_the_same_samples() -> None:
    first, second = random.Random(5), random.Random(5)
    for _ in range(300):
        assert generate(first, "train") == generate(second, "train")


def test_all_intents_occur_and_no_sample_is_of_another() -> None:
    for split in BOTH:
        assert {sample.intent for sample in samples(split)} == set(INTENTS)


@pytest.mark.parametrize("split", BOTH)
def test_questions_and_answers_use_only_words_of_the_vocabulary(split: Split) -> None:
    known = set(vocabulary())
    for turn in turns(split):
        assert re.fullmatch(r"[a-z' ]*", turn.question)
        assert turn.question == " ".join(turn.question.split())
        assert set(turn.question.split()) <= known
        assert set(spoken_words(turn.answer)) <= known


@pytest.mark.parametrize("split", BOTH)
def test_answers_are_sentences_without_digits_and_name_their_key_words(split: Split) -> None:
    for turn in turns(split):
        assert re.fullmatch(r"[A-Z][A-Za-z' .,?!]*[.?!]", turn.answer), turn.answer
        assert set(turn.key_words) <= set(spoken_words(turn.answer))
        assert len(spoken_words(turn.answer)) <= 40
        assert turn.key_words


def test_no_carrier_is_in_both_splits() -> None:
    train = {turn.carrier for turn in turns("train")}
    held = {turn.carrier for turn in turns("held")}
    assert not train & held


def live_combos(split: Split) -> Iterator[tuple[str, ...]]:
    for turn in turns(split):
        name, text = turn.call or ("", "{}")
        values = json.loads(text)
        if name == "calculate":
            a, b = re.fullmatch(r"(-?\d+)[-+*](\d+)", values["expression"]).groups()  # type: ignore[union-attr]
            yield pair_key((int(a), int(b)))
        elif name == "convert_units":
            yield amount_key((values["value"], values["from"], values["to"]))
        elif name in ("get_weather", "get_time") and values:
            yield ("city", name.removeprefix("get_"), values["city"])
        elif turn.intent == "repeat":
            yield ("words", *turn.slots)


def test_no_training_sample_has_a_held_out_slot_combination() -> None:
    combos = list(live_combos("train"))
    assert len(combos) > N / 2
    assert not any(held_combo(*combo) for combo in combos)


def test_every_held_sample_with_open_slots_has_a_held_out_combination() -> None:
    combos = list(live_combos("held"))
    assert len(combos) > N / 2
    assert all(held_combo(*combo) for combo in combos)


def test_no_held_question_is_a_training_question() -> None:
    train = {sample.question for sample in samples("train")}
    held = [s for s in samples("held") if not s.history]
    assert not [sample.question for sample in held if sample.question in train]


@pytest.mark.parametrize("split", BOTH)
def test_calls_are_compact_and_fit_the_served_tools_or_are_refused(split: Split) -> None:
    for turn in turns(split):
        if turn.call is None:
            assert turn.result is None
            continue
        name, text = turn.call
        values = json.loads(text)
        if name == "get_time" and values.get("city", "Rome") not in cities():
            assert (split, turn.result) == ("train", FAILED)
        else:
            assert parse_arguments(SPECS[name], text) == values
        assert text == json.dumps(values, separators=(",", ":"))
        assert list(values) == [
            key for key in SPECS[name].parameters["properties"] if key in values
        ]


async def test_results_are_those_of_the_seeded_fake() -> None:
    rng, tools, called = random.Random(2), FakeTools(77), 0
    for _ in range(1500):
        sample = generate(rng, "held", fake_seed=77)
        for turn in (*sample.history, sample):
            if turn.call is not None:
                served = await tools.call(ToolCall("c", *turn.call))
                assert turn.result == served.output
                called += 1
    assert called > 500


def test_arithmetic_is_right_in_words() -> None:
    rng = random.Random(3)
    signs = {"sum": ("plus", "+"), "difference": ("minus", "-"), "product": ("times", "*")}
    for intent, (word, sign) in signs.items():
        for _ in range(200):
            sample = generate_intent(rng, intent, "held")
            a, b = (value for value in sample.slots)
            assert sample.call is not None
            expression = json.loads(sample.call[1])["expression"]
            x, y = expression.split(sign)
            assert (number_words(int(x)), number_words(int(y))) == (a, b)
            value = number_words(int(evaluate(expression)))
            assert sample.answer.lower() == f"{a} {word} {b} is {value}."


def test_failed_tools_are_answered_in_training_only() -> None:
    failed = [turn for turn in turns("train") if turn.result and "error" in turn.result]
    assert {turn.result for turn in failed} == {'{"error":"failed"}', '{"error":"unavailable"}'}
    assert all(turn.answer.startswith("Sorry") for turn in failed)
    assert not [turn for turn in turns("held") if turn.result and "error" in turn.result]


@pytest.mark.parametrize("intent", ["time", "weather"])
def test_in_training_any_word_may_name_a_place_and_is_called_as_it_was_said(intent: str) -> None:
    rng = random.Random(8)
    drawn = [generate_intent(rng, intent, "train") for _ in range(800)]
    asked = [sample for sample in drawn if sample.slots]
    named = [(s, json.loads(s.call[1])["city"]) for s in asked if s.call]
    assert all(" ".join(sample.slots) == name.lower() for sample, name in named)
    assert all(name.lower() in sample.question for sample, name in named)
    strange = [sample for sample, name in named if name not in cities()]
    assert len(strange) > 0.4 * len(named)
    if intent == "time":
        assert {sample.result for sample in strange} == {FAILED}
    held = {name for name in cities() if held_combo("city", intent, name)}
    assert held
    assert not held & {name for _, name in named}
    assert not {json.loads(s.call[1])["city"] for s in held_samples(intent) if s.call} - held


def held_samples(intent: str) -> list[QaSample]:
    rng = random.Random(9)
    drawn = (generate_intent(rng, intent, "held") for _ in range(100))
    return [sample for sample in drawn if sample.slots]


def test_noise_and_salad_are_not_understood() -> None:
    rng, questions = random.Random(4), defaultdict(set)
    for _ in range(300):
        sample = generate_intent(rng, "not_understood", "train")
        questions[sample.carrier.split("/")[1]].add(sample.question)
        assert sample.answer.startswith("Sorry")
        assert sample.call is None
    assert questions["noise"] == {""}
    assert len(questions["salad"]) > 30
    assert len(questions["other"]) > 80


def test_follow_ups_use_their_history() -> None:
    rng = random.Random(6)
    for _ in range(400):
        sample = generate_intent(rng, "follow_up", "train")
        assert sample.history
        if "/again/" in sample.carrier:
            assert sample.answer == sample.history[-1].answer
        if "/asked/" in sample.carrier:
            assert sample.history[-1].question in sample.answer
        if "follow_up/plus/" in sample.carrier:
            assert sample.call is not None
            before = json.loads(sample.history[-1].result or "")["result"]
            assert json.loads(sample.call[1])["expression"].startswith(f"{before}+")
        before_role = sample.history[-1]
        if before_role.intent == "role" and before_role.slots != ("normal",):
            start = load("talk")["roles"][f"a {before_role.slots[0]}"][1]
            assert sample.answer.startswith(start)


@pytest.mark.parametrize("split", BOTH)
def test_a_follow_up_asks_for_another_city(split: Split) -> None:
    rng, seen = random.Random(9), 0
    while seen < 30:
        sample = generate_intent(rng, "follow_up", split)
        if "follow_up/city/" in sample.carrier:
            assert sample.slots != sample.history[-1].slots
            seen += 1
