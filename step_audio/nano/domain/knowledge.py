"""Questions that the model must know: capitals and facts.

Their slots are never held out (nobody can know an untold capital): only their carriers are.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from step_audio.nano.domain.carriers import (
    Carrier,
    Phrasings,
    Slot,
    ask,
    load,
    phrasings_of,
    sentence,
)
from step_audio.nano.domain.draw import Draw, word_slot, words_of
from step_audio.nano.domain.sample import QaSample
from step_audio.nano.tools.results import MONTHS, WEEKDAYS

CYCLES: Final = {"day": WEEKDAYS, "month": MONTHS, "season": ("spring", "summer", "fall", "winter")}
SMALL: Final = frozenset({"the", "a", "an", "and"})


def countries() -> tuple[str, ...]:
    """Return the countries of places.yaml as an answer writes them."""
    return tuple(load("places")["countries"])


def capital(draw: Draw) -> QaSample:
    """Draw a question for the capital of a country."""
    country = draw.rng.choice(countries())
    carrier = draw.carrier("capital")
    question = ask(draw.rng, carrier, {"country": country_slot(country)})
    return capital_sample(carrier, question, country)


def country_slot(country: str) -> Slot:
    """Return the slot of a country."""
    return word_slot(country, countries())


def capital_sample(carrier: Carrier, question: str, country: str) -> QaSample:
    """Return the sample for the capital of `country`."""
    city = load("places")["countries"][country][0]
    answer = load("talk")["answers"]["capital"].format(country=country, v=city)
    slots = (country.lower(),)
    return QaSample("capital", question, None, None, answer, carrier.id, slots, words_of(city))


@cache
def family_items(family: str) -> tuple[dict[str, str], ...]:
    """Return the items of a family of facts.yaml: slot names to values, `v` the answer."""
    rules = load("facts")[family]
    if "cycle" in rules:
        step = 1 if rules["cycle"] == "after" else -1
        return tuple(
            {"x": names[at], "kind": kind, "v": names[(at + step) % len(names)]}
            for kind, names in CYCLES.items()
            for at in range(len(names))
        )
    if "countries" in rules:
        places = load("places")["countries"]
        return tuple({"x": name, "v": continent} for name, (_, continent) in places.items())
    return tuple(dict(zip(rules["names"], item, strict=True)) for item in rules["items"])


@cache
def family_phrasings(family: str, x: str = "") -> Phrasings:
    """Return the carriers of a family, or those of the single item `x` only."""
    rules = load("facts")[family]
    if not x:
        return phrasings_of(f"fact/{family}", rules)
    return phrasings_of(f"fact/{family}", {"ask": rules["also"][x]})


def fact(draw: Draw) -> QaSample:
    """Draw a question for one of the facts; families weigh as the root of their size."""
    families = [name for name in load("facts") if family_phrasings(name).has(draw.split)]
    weights = [len(family_items(name)) ** 0.5 for name in families]
    family = draw.rng.choices(families, weights)[0]
    item = draw.rng.choice(family_items(family))
    carrier = family_phrasings(family).pick(draw.rng, draw.split)
    if "also" in load("facts")[family] and draw.rng.random() < 0.5:
        own = family_phrasings(family, item["x"])
        carrier = own.pick(draw.rng, draw.split) if own.has(draw.split) else carrier
    return fact_sample(draw, family, item, carrier)


def fact_sample(draw: Draw, family: str, item: dict[str, str], carrier: Carrier) -> QaSample:
    """Return the sample for one item of a family in the words of `carrier`."""
    slots = {name: Slot(value.lower()) for name, value in item.items()}
    question = ask(draw.rng, carrier, slots)
    return fact_answer(family, item, carrier, question)


def fact_answer(family: str, item: dict[str, Any], carrier: Carrier, question: str) -> QaSample:
    """Return the sample for one item of a family and a question that is already worded."""
    answer = sentence(load("facts")[family]["answer"].format(**item))
    key = tuple(word for word in words_of(item["v"]) if word not in SMALL)
    slots = tuple(value.lower() for name, value in item.items() if name != "v")
    return QaSample("fact", question, None, None, answer, carrier.id, slots, key)
