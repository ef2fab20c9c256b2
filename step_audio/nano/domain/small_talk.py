"""Small talk, jokes and stories, and what nano can not do."""

from __future__ import annotations

from functools import cache

from step_audio.nano.domain.carriers import Carrier, Phrasings, Slot, ask, load, phrasings_of
from step_audio.nano.domain.draw import Draw
from step_audio.nano.domain.lexicon import salad, vocabulary
from step_audio.nano.domain.sample import QaSample

PIECES = {"jokes": ("why", "because"), "stories": ("once",)}


@cache
def kind_phrasings(kind: str) -> Phrasings:
    """Return the carriers of a kind of small talk, or of "jokes" and "stories"."""
    rules = load("talk")[kind] if kind in PIECES else load("talk")["small_talk"][kind]
    return phrasings_of(f"small_talk/{kind}", rules)


def small_talk(draw: Draw) -> QaSample:
    """Draw a turn of small talk; a quarter are jokes and stories."""
    if draw.rng.random() < 0.25:
        return piece(draw, draw.rng.choice(tuple(PIECES)))
    kinds = [kind for kind in load("talk")["small_talk"] if kind_phrasings(kind).has(draw.split)]
    kind = draw.rng.choice(kinds)
    rules = load("talk")["small_talk"][kind]
    carrier = kind_phrasings(kind).pick(draw.rng, draw.split)
    answer, key = draw.rng.choice(rules["answers"]), tuple(rules["key"])
    question = ask(draw.rng, carrier, {})
    return QaSample("small_talk", question, None, None, answer, carrier.id, (kind,), key)


def greetings() -> tuple[str, ...]:
    """Return what is said to somebody who has just come."""
    return tuple(load("talk")["small_talk"]["greeting"]["answers"])


def piece(draw: Draw, kind: str) -> QaSample:
    """Draw a request for one of the jokes or stories, about a topic or any."""
    topic = draw.rng.choice(tuple(load("talk")[kind]["items"]))
    carrier = kind_phrasings(kind).pick(draw.rng, draw.split)
    question = ask(draw.rng, carrier, {"topic": Slot(topic)})
    return piece_sample(carrier, question, kind, topic)


def piece_sample(carrier: Carrier, question: str, kind: str, topic: str) -> QaSample:
    """Return the sample whose answer is the joke or story about `topic`."""
    word, text = load("talk")[kind]["items"][topic]
    asked = "{topic}" in carrier.pattern
    first, *rest = PIECES[kind]  # key words stand in the order of the text
    key = (first, word, *rest) if asked else PIECES[kind]
    return QaSample("small_talk", question, None, None, text, carrier.id, (kind, word), key)


def not_understood(draw: Draw) -> QaSample:
    """Draw sound without speech, words without sense, or a request out of the domain."""
    answers = load("talk")["not_understood"]
    dice = 1.0 if draw.split == "held" else draw.rng.random()
    if dice < 0.5:
        question = salad(draw.rng, vocabulary(), 2, 8) if dice < 0.15 else ""
        carrier = f"not_understood/{'salad' if question else 'noise'}"
        text, key = answers["unclear"]
        return QaSample("not_understood", question, None, None, text, carrier, (), tuple(key))
    chosen = draw.carrier("not_understood/other")
    text, key = answers["other"]
    question = ask(draw.rng, chosen, {})
    return QaSample("not_understood", question, None, None, text, chosen.id, (), tuple(key))
