"""Samples of the whole domain, weighted: what nano is trained on and asked."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Final

from step_audio.nano.domain import knowledge, small_talk, speech, tool_questions, unseen_places
from step_audio.nano.domain.draw import Draw
from step_audio.nano.domain.followup import follow_up
from step_audio.nano.domain.sample import QaSample, Split

INTENTS: Final[dict[str, tuple[float, Callable[[Draw], QaSample]]]] = {
    "sum": (11, partial(tool_questions.arithmetic, intent="sum")),
    "difference": (8, partial(tool_questions.arithmetic, intent="difference")),
    "product": (8, partial(tool_questions.arithmetic, intent="product")),
    "time": (8, unseen_places.time),
    "date": (3, partial(tool_questions.calendar, intent="date")),
    "weekday": (2, partial(tool_questions.calendar, intent="weekday")),
    "weather": (11, unseen_places.weather),
    "timer": (5, tool_questions.timer),
    "conversion": (9, tool_questions.conversion),
    "capital": (9, knowledge.capital),
    "fact": (11, knowledge.fact),
    "count": (3, speech.count),
    "repeat": (5, speech.repeat),
    "spell": (2, speech.spell),
    "small_talk": (6, small_talk.small_talk),
    "role": (2, speech.role),
    "style": (3, speech.style),
    "follow_up": (6, follow_up),
    "not_understood": (4, small_talk.not_understood),
}
"""Intent to (weight, how one sample is drawn)."""


def generate(rng: random.Random, split: Split, fake_seed: int | None = None) -> QaSample:
    """Return one sample; intents are weighted by `INTENTS`.

    Args:
        split: "train" uses no held-out carrier and no held-out slot combination (history
            included); "held" uses held-out carriers, and held-out combinations for slots
            that can be answered unseen (operands, cities, amounts, counts, free words).
        fake_seed: tools answer as `FakeTools(fake_seed)` does; None: a new seed a sample.
    """
    names = tuple(INTENTS)
    intent = rng.choices(names, [INTENTS[name][0] for name in names])[0]
    return generate_intent(rng, intent, split, fake_seed)


def generate_intent(
    rng: random.Random, intent: str, split: Split, fake_seed: int | None = None
) -> QaSample:
    """Return one sample of an intent. Raises KeyError: no such intent."""
    return INTENTS[intent][1](Draw(rng, split, fake_seed))
