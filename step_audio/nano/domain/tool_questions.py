"""Questions that a tool answers: arithmetic, time, date, weekday, weather, timer, conversion.

Every answer is a function of the tool's JSON result, as it is at serving time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from step_audio.core import toolformat
from step_audio.nano.domain.carriers import Carrier, Slot, ask, load, sentence
from step_audio.nano.domain.draw import Draw, number_slot, word_slot, words_of
from step_audio.nano.domain.numbers import (
    clock_words,
    number_words,
    ordinal_words,
    value_words,
)
from step_audio.nano.domain.sample import QaSample
from step_audio.nano.tools import results
from step_audio.nano.tools.arithmetic import evaluate
from step_audio.nano.tools.units import convert

OPERATORS: Final = {"sum": ("+", "plus"), "difference": ("-", "minus"), "product": ("*", "times")}
UNIT_PAIRS: Final = (
    *(("km", "miles"), ("kg", "pounds"), ("meters", "feet"), ("liters", "gallons")),
    ("celsius", "fahrenheit"),
)
# unit: (one of it, many of it, what people may call many of it)
UNIT_WORDS: Final[dict[str, tuple[str, str, tuple[str, ...]]]] = {
    "km": ("kilometer", "kilometers", ("kilometers",)),
    "miles": ("mile", "miles", ("miles",)),
    "kg": ("kilogram", "kilograms", ("kilograms", "kilograms", "kilos")),
    "pounds": ("pound", "pounds", ("pounds",)),
    "meters": ("meter", "meters", ("meters",)),
    "feet": ("foot", "feet", ("feet",)),
    "liters": ("liter", "liters", ("liters",)),
    "gallons": ("gallon", "gallons", ("gallons",)),
    "celsius": ("degree Celsius", "degrees Celsius", ("degrees Celsius", "Celsius")),
    "fahrenheit": ("degree Fahrenheit", "degrees Fahrenheit", ("degrees Fahrenheit", "Fahrenheit")),
}
SECONDS: Final = {"seconds": 1, "minutes": 60, "hours": 3600}


@dataclass(frozen=True, slots=True)
class SpokenNumber:
    """What a live answer is made of.

    Attributes:
        template: key under `answers` in talk.yaml.
        fields: what the question gave, as the answer says it.
        key: words of `fields` that must be in the answer besides the value.
    """

    template: str
    fields: dict[str, str]
    key: tuple[str, ...] = ()


def spoken(heard: SpokenNumber, result: str) -> tuple[str, tuple[str, ...]]:
    """Return the answer for a tool's JSON result and the words that must be heard in it."""
    output: dict[str, Any] = json.loads(result)
    if "error" in output:
        text, key = load("talk")["tool_errors"][output["error"]]
        return text, tuple(key)
    fields = heard.fields | _values(output)
    text = sentence(load("talk")["answers"][heard.template].format(**fields))
    return text, (*heard.key, *_key(heard.template, fields))


def _values(output: dict[str, Any]) -> dict[str, str]:
    if "result" in output:
        return {"v": value_words(output["result"])}
    if "time" in output:
        return {"v": clock_words(output["time"])}
    if "temperature" in output:
        degrees = "degree" if output["temperature"] in (1, -1) else "degrees"
        value = f"{value_words(output['temperature'])} {degrees}"
        return {"condition": output["condition"], "v": value}
    if "weekday" in output:
        day = ordinal_words(output["day"])
        return {"weekday": output["weekday"], "month": output["month"], "day": day}
    return {"v": value_words(output["value"])} if "value" in output else {}


def _key(template: str, fields: dict[str, str]) -> tuple[str, ...]:
    names = {
        "weather": ("condition", "v"),
        "date": ("month", "day"),
        "weekday": ("weekday",),
        "timer": ("n", "unit"),
    }.get(template, ("v",))
    return tuple(word for name in names for word in words_of(fields[name]))


def arithmetic(draw: Draw, intent: str) -> QaSample:
    """Draw a question for `calculate`; intent "sum", "difference" or "product"."""
    top = 12 if intent == "product" else 99

    def operands() -> tuple[int, int]:
        a, b = draw.rng.randint(0, top), draw.rng.randint(0, top)
        if intent == "difference" and a < b and draw.rng.random() < 0.8:
            return b, a
        return a, b

    a, b = draw.combo(operands, pair_key)
    carrier = draw.carrier(intent)
    slots = {"a": number_slot(a, 0, top), "b": number_slot(b, 0, top)}
    return calculation(draw, intent, carrier, ask(draw.rng, carrier, slots), (a, b))


def pair_key(pair: tuple[int, int]) -> tuple[str, ...]:
    """Return the key of an operand pair; its order and its operator do not matter."""
    return ("operands", str(min(pair)), str(max(pair)))


def calculation(
    draw: Draw, intent: str, carrier: Carrier, question: str, pair: tuple[int, int]
) -> QaSample:
    """Return the sample that puts two operands and the operator of `intent` to `calculate`."""
    a, b = pair
    sign, word = OPERATORS[intent]
    expression = f"{a}{sign}{b}"
    result = draw.outcome(results.calculate_output(evaluate(expression)))
    words = {"a": number_words(a), "b": number_words(b), "op": word}
    answer, key = spoken(SpokenNumber("arithmetic", words), result)
    call = ("calculate", toolformat.compact(expression=expression))
    slots = (words["a"], words["b"])
    return QaSample(intent, question, call, result, answer, carrier.id, slots, key)


@cache
def cities() -> tuple[str, ...]:
    """Return the cities whose time and weather can be asked, as an answer writes them."""
    return tuple(results.CITY_ZONES)


def draw_city(draw: Draw, intent: str, but: tuple[str, ...] = ()) -> str:
    """Return a city whose combination with the intent belongs to the split, not one of `but`."""
    choices = [city for city in cities() if city.lower() not in but]
    return draw.combo(lambda: draw.rng.choice(choices), lambda city: ("city", intent, city))


def time(draw: Draw) -> QaSample:
    """Draw a question for the time, here or in a city."""
    if draw.rng.random() < 0.35:
        carrier = draw.carrier("time/here")
        return time_sample(draw, carrier, ask(draw.rng, carrier, {}), None)
    city = draw_city(draw, "time")
    carrier = draw.carrier("time/city")
    return time_sample(draw, carrier, ask(draw.rng, carrier, {"city": city_slot(city)}), city)


def city_slot(city: str) -> Slot:
    """Return the slot of a city."""
    return word_slot(city, cities())


def time_sample(draw: Draw, carrier: Carrier, question: str, city: str | None) -> QaSample:
    """Return the sample that asks `get_time`, which refuses a city that its clock does not know."""
    known = city is None or city in cities()
    result = draw.outcome(results.fake_time(draw.seed(), city)) if known else toolformat.FAILED
    heard = SpokenNumber("time/city", {"city": city}) if city else SpokenNumber("time/here", {})
    answer, key = spoken(heard, result)
    call = ("get_time", toolformat.compact(city=city) if city else "{}")
    slots = (city.lower(),) if city else ()
    return QaSample("time", question, call, result, answer, carrier.id, slots, key)


def calendar(draw: Draw, intent: str) -> QaSample:
    """Draw a question for `get_date`; intent "date" or "weekday"."""
    carrier = draw.carrier(intent)
    day, other = draw.rng.sample(results.WEEKDAYS, 2)
    slots = {"day": Slot(day.lower()), "other": Slot(other.lower())}
    result = draw.outcome(results.fake_date(draw.seed()))
    answer, key = spoken(SpokenNumber(intent, {}), result)
    question = ask(draw.rng, carrier, slots)
    return QaSample(intent, question, ("get_date", "{}"), result, answer, carrier.id, (), key)


def weather(draw: Draw) -> QaSample:
    """Draw a question for the weather in a city."""
    city = draw_city(draw, "weather")
    carrier = draw.carrier("weather")
    question = ask(draw.rng, carrier, {"city": city_slot(city)})
    return weather_sample(draw, carrier, question, city)


def weather_sample(draw: Draw, carrier: Carrier, question: str, city: str) -> QaSample:
    """Return the sample that asks `get_weather`."""
    result = draw.outcome(results.fake_weather(draw.seed(), city), live=True)
    answer, key = spoken(SpokenNumber("weather", {"city": city}), result)
    call = ("get_weather", toolformat.compact(city=city))
    slots = (city.lower(),)
    return QaSample("weather", question, call, result, answer, carrier.id, slots, key)


def timer(draw: Draw) -> QaSample:
    """Draw a request for a timer.

    Only seconds are held out by number: minutes and hours times 60 must have been seen once.
    """

    def duration() -> tuple[int, str]:
        unit = draw.rng.choices(tuple(SECONDS), (3, 5, 2))[0]
        return draw.rng.randint(1, 60), unit

    n, unit = duration()
    if unit == "seconds":
        n = draw.combo(lambda: draw.rng.randint(1, 60), lambda n: ("timer", str(n)))
    one = unit.removesuffix("s")
    said = one if n == 1 else unit
    carrier = draw.carrier("timer")
    slots = {"n": number_slot(n, 1, 60), "unit": Slot(said), "one": Slot(one)}
    result = draw.outcome(results.timer_output())
    fields = {"n": number_words(n), "unit": said}
    answer, key = spoken(SpokenNumber("timer", fields), result)
    call = ("set_timer", toolformat.compact(seconds=n * SECONDS[unit]))
    question = ask(draw.rng, carrier, slots)
    return QaSample(
        "timer", question, call, result, answer, carrier.id, tuple(fields.values()), key
    )


def conversion(draw: Draw) -> QaSample:
    """Draw a conversion between two units."""

    def amount() -> tuple[int, str, str]:
        source, target = draw.rng.choice(UNIT_PAIRS)
        if draw.rng.random() < 0.5:
            source, target = target, source
        return draw.rng.randint(1, 100), source, target

    n, source, target = draw.combo(amount, amount_key)
    carrier = draw.carrier("conversion")
    slots = {
        "n": number_slot(n, 1, 100),
        "from": Slot(unit_words(n, source) if n == 1 else draw.rng.choice(UNIT_WORDS[source][2])),
        "to": Slot(draw.rng.choice(UNIT_WORDS[target][2])),
    }
    return conversion_sample(draw, carrier, ask(draw.rng, carrier, slots), (n, source, target))


def amount_key(amount: tuple[int, str, str]) -> tuple[str, ...]:
    """Return the key of an amount and its two units."""
    return ("convert", str(amount[0]), *amount[1:])


def unit_words(n: float, unit: str) -> str:
    """Return the name of a unit as it follows the number `n` in an answer."""
    return UNIT_WORDS[unit][0] if n == 1 else UNIT_WORDS[unit][1]


def conversion_sample(
    draw: Draw, carrier: Carrier, question: str, amount: tuple[int, str, str]
) -> QaSample:
    """Return the sample that asks `convert_units`."""
    n, source, target = amount
    value = convert(n, source, target)
    result = draw.outcome(results.convert_output(value))
    names = {"from": unit_words(n, source), "to": unit_words(value, target)}
    answer, key = spoken(SpokenNumber("conversion", {"n": number_words(n), **names}), result)
    call = ("convert_units", toolformat.compact(value=n, **{"from": source, "to": target}))
    slots = (number_words(n), source, target)
    return QaSample("conversion", question, call, result, answer, carrier.id, slots, key)
