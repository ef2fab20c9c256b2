"""Weather and time in places that no model knows by heart: what was said is copied into the call.

With 43 cities alone it learns them as a list, and asks for one of the list whatever it heard.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from step_audio.nano.domain import tool_questions
from step_audio.nano.domain.carriers import Carrier, ask, load
from step_audio.nano.domain.draw import Draw
from step_audio.nano.domain.lexicon import clear_words
from step_audio.nano.domain.numbers import words_of_numbers
from step_audio.nano.domain.sample import QaSample

NAMED: Final = 0.2
"""Share of the training questions for either that name a country or another capital."""

INVENTED: Final = 0.35
"""Share in which one or two words of the vocabulary are the name."""


def weather(draw: Draw) -> QaSample:
    """Draw a question for the weather, in training in any place; held out are cities alone."""
    if not (name := _place(draw, "weather")):
        return tool_questions.weather(draw)
    carrier = draw.carrier("weather")
    return tool_questions.weather_sample(draw, carrier, _asked(draw, carrier, name), name)


def time(draw: Draw) -> QaSample:
    """Draw a question for the time, in training also in any place."""
    if not (name := _place(draw, "time")):
        return tool_questions.time(draw)
    carrier = draw.carrier("time/city")
    return tool_questions.time_sample(draw, carrier, _asked(draw, carrier, name), name)


def _place(draw: Draw, intent: str) -> str:
    """Return a place that is no city of the clock, or "" where one of those is to be asked for."""
    dice = draw.rng.random() if draw.split == "train" else 1.0
    if dice >= NAMED + INVENTED:
        return ""

    def place() -> str:
        if dice < NAMED:
            return draw.rng.choice(places())
        words = draw.rng.choices(invented_words(), k=draw.rng.choice((1, 1, 2)))
        return " ".join(word.capitalize() for word in words)

    return draw.combo(place, lambda name: ("city", intent, name))


def _asked(draw: Draw, carrier: Carrier, name: str) -> str:
    return ask(draw.rng, carrier, {"city": tool_questions.city_slot(name)})


@cache
def invented_words() -> tuple[str, ...]:
    """Return the words that may name a place: no numbers, which the answer has of its own."""
    return tuple(w for w in clear_words() if len(w) > 2 and w not in words_of_numbers())


@cache
def places() -> tuple[str, ...]:
    """Return countries and capitals, those left out that are cities of the clock."""
    table: dict[str, tuple[str, str]] = load("places")["countries"]
    names = {*table, *(capital for capital, _ in table.values())}
    return tuple(sorted(names - set(tool_questions.cities())))
