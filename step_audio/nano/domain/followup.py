"""Questions that need the conversation: "and in London?", "say that again", a role that lasts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from step_audio.nano.domain import knowledge, small_talk, tool_questions
from step_audio.nano.domain.carriers import ask, load, phrasings
from step_audio.nano.domain.draw import Draw, number_slot
from step_audio.nano.domain.sample import QaSample
from step_audio.nano.domain.speech import role, role_start, style

MAX_ASKED_WORDS: Final = 9
OPERATIONS: Final = {"plus": "sum", "minus": "difference", "times": "product"}
PLAIN: Final[tuple[Callable[[Draw], QaSample], ...]] = (
    lambda draw: tool_questions.arithmetic(draw, "sum"),
    lambda draw: tool_questions.arithmetic(draw, "difference"),
    lambda draw: tool_questions.arithmetic(draw, "product"),
    tool_questions.weather,
    tool_questions.time,
    tool_questions.conversion,
    tool_questions.timer,
    knowledge.capital,
    knowledge.fact,
)


IN_ROLE_INTENTS: Final = (
    "sum",
    "difference",
    "product",
    "weather",
    "time",
    "date",
    "weekday",
    "conversion",
    "timer",
    "capital",
    "fact",
    "count",
)
"""Of questions whose answers begin with the words of a role, where one was asked for."""


def follow_up(draw: Draw) -> QaSample:
    """Draw a turn that only its history explains; tools do not fail in it."""
    if draw.fake_seed is None:
        draw = replace(draw, fake_seed=draw.seed())
    fitting = [
        name for name in MAKERS if name in LASTING or phrasings(f"follow_up/{name}").has(draw.split)
    ]
    name = draw.rng.choices(fitting, [WEIGHTS.get(name, 1) for name in fitting])[0]
    return MAKERS[name](draw)


def _turn(sample: QaSample, *history: QaSample) -> QaSample:
    return replace(sample, intent="follow_up", history=history)


def _plain(draw: Draw) -> QaSample:
    return draw.rng.choice(PLAIN)(draw)


def _city(draw: Draw) -> QaSample:
    of_weather = draw.rng.random() < 0.6
    intent = "weather" if of_weather else "time"
    before = tool_questions.weather(draw) if of_weather else tool_questions.time(draw)
    city = tool_questions.draw_city(draw, intent, but=before.slots)
    carrier = draw.carrier("follow_up/city")
    question = ask(draw.rng, carrier, {"city": tool_questions.city_slot(city)})
    make = tool_questions.weather_sample if of_weather else tool_questions.time_sample
    return _turn(make(draw, carrier, question, city), before)


def _first(draw: Draw) -> QaSample:
    second = _city(draw)
    (first,) = second.history
    if not first.slots:  # the time here has no city to go back to
        return second
    carrier = draw.carrier("follow_up/first")
    again = replace(first, question=ask(draw.rng, carrier, {}), carrier=carrier.id)
    return _turn(again, first, second)


def _country(draw: Draw) -> QaSample:
    carrier = draw.carrier("follow_up/country")
    country = draw.rng.choice(knowledge.countries())
    question = ask(draw.rng, carrier, {"country": knowledge.country_slot(country)})
    if draw.rng.random() < 0.6 or not knowledge.family_phrasings("continent").has(draw.split):
        after = knowledge.capital_sample(carrier, question, country)
        return _turn(after, knowledge.capital(draw))
    items = knowledge.family_items("continent")
    asked = knowledge.family_phrasings("continent").pick(draw.rng, draw.split)
    before = knowledge.fact_sample(draw, "continent", draw.rng.choice(items), asked)
    item = next(item for item in items if item["x"] == country)
    return _turn(knowledge.fact_answer("continent", item, carrier, question), before)


def _operation(draw: Draw, name: str) -> QaSample:
    top = 9 if name == "times" else 20

    def turn() -> tuple[QaSample, int, int]:
        before = tool_questions.arithmetic(draw, draw.rng.choice(("sum", "difference", "product")))
        return before, int(json.loads(before.result or "")["result"]), draw.rng.randint(1, top)

    before, value, n = draw.combo(turn, lambda drawn: tool_questions.pair_key(drawn[1:]))
    carrier = draw.carrier(f"follow_up/{name}")
    question = ask(draw.rng, carrier, {"n": number_slot(n, 1, top)})
    return _turn(
        tool_questions.calculation(draw, OPERATIONS[name], carrier, question, (value, n)), before
    )


def _again(draw: Draw) -> QaSample:
    before = _plain(draw)
    carrier = draw.carrier("follow_up/again")
    question = ask(draw.rng, carrier, {})
    after = replace(before, question=question, call=None, result=None, carrier=carrier.id)
    return _turn(after, before)


def _asked(draw: Draw) -> QaSample:
    before = _plain(draw)
    while len(before.question.split()) > MAX_ASKED_WORDS:
        before = _plain(draw)
    carrier = draw.carrier("follow_up/asked")
    answer = load("talk")["answers"]["asked"].format(question=before.question)
    asked = before.question.split()
    key = tuple(word for word in asked if word in " ".join(before.slots).split()) or tuple(asked)
    question = ask(draw.rng, carrier, {})
    after = QaSample("follow_up", question, None, None, answer, carrier.id, before.slots, key)
    return _turn(after, before)


def _another(draw: Draw) -> QaSample:
    kind = draw.rng.choice(
        [kind for kind in small_talk.PIECES if small_talk.kind_phrasings(kind).has(draw.split)]
    )
    before = small_talk.piece(draw, kind)
    items = load("talk")[kind]["items"]
    topic = draw.rng.choice([name for name in items if items[name][1] != before.answer])
    carrier = draw.carrier("follow_up/another")
    return _turn(small_talk.piece_sample(carrier, ask(draw.rng, carrier, {}), kind, topic), before)


def _swap(draw: Draw) -> QaSample:
    def turn() -> tuple[QaSample, tuple[int, str, str]]:
        before = tool_questions.conversion(draw)
        arguments = json.loads(before.call[1]) if before.call else {}
        return before, (arguments["value"], arguments["to"], arguments["from"])

    before, amount = draw.combo(turn, lambda drawn: tool_questions.amount_key(drawn[1]))
    carrier = draw.carrier("follow_up/swap")
    question = ask(draw.rng, carrier, {})
    return _turn(tool_questions.conversion_sample(draw, carrier, question, amount), before)


def _role(draw: Draw) -> QaSample:
    before = role(draw)
    after = _plain(draw)
    if start := role_start(before):
        after = replace(after, answer=f"{start} {after.answer}")
    return _turn(after, before)


def _style(draw: Draw) -> QaSample:
    return _turn(_plain(draw), style(draw))


MAKERS: Final[dict[str, Callable[[Draw], QaSample]]] = {
    "city": _city,
    "first": _first,
    "country": _country,
    "plus": lambda draw: _operation(draw, "plus"),
    "minus": lambda draw: _operation(draw, "minus"),
    "times": lambda draw: _operation(draw, "times"),
    "again": _again,
    "asked": _asked,
    "another": _another,
    "swap": _swap,
    "role": _role,
    "style": _style,
}
WEIGHTS: Final = {"city": 4, "role": 3, "style": 2, "country": 2}
LASTING: Final = ("role", "style")  # the turn itself is a question like any other
