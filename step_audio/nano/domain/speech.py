"""Requests about speech itself: count, repeat, spell, role, style."""

from __future__ import annotations

from functools import cache
from importlib import resources

from step_audio.nano.domain.carriers import Slot, ask, load, sentence
from step_audio.nano.domain.draw import Draw, number_slot, words_of
from step_audio.nano.domain.lexicon import clear_words
from step_audio.nano.domain.numbers import number_words
from step_audio.nano.domain.sample import QaSample


def count(draw: Draw) -> QaSample:
    """Draw a request to count up or down between two numbers of 0 to 20."""
    down = draw.rng.random() < 0.3

    def ends() -> tuple[int, int]:
        span = draw.rng.randint(2, 20) if draw.rng.random() < 0.3 else draw.rng.randint(2, 9)
        start = draw.rng.randint(0, 20 - span)
        return (start + span, start) if down else (start, start + span)

    a, b = draw.combo(ends, lambda pair: ("count", str(pair[0]), str(pair[1])))
    carrier = draw.carrier("count/down" if down else "count/up")
    question = ask(draw.rng, carrier, {"a": number_slot(a, 0, 20), "b": number_slot(b, 0, 20)})
    numbers = [number_words(n) for n in (range(a, b - 1, -1) if down else range(a, b + 1))]
    answer = sentence(", ".join(numbers)) + "."
    slots = (number_words(a), number_words(b))
    return QaSample("count", question, None, None, answer, carrier.id, slots, tuple(numbers))


def repeat(draw: Draw) -> QaSample:
    """Draw one to six words to be said back; no word that sounds like another."""
    words = free_words(draw, 6)
    carrier = draw.carrier("repeat")
    question = ask(draw.rng, carrier, {"words": Slot(" ".join(words))})
    answer = sentence(" ".join(words)) + "."
    return QaSample("repeat", question, None, None, answer, carrier.id, words, words)


def free_words(draw: Draw, most: int) -> tuple[str, ...]:
    """Return 1 to `most` random words whose combination belongs to the split."""
    pool = clear_words()
    return draw.combo(
        lambda: tuple(draw.rng.choices(pool, k=draw.rng.randint(1, most))),
        lambda words: ("words", *words),
    )


@cache
def spelling_words() -> tuple[str, ...]:
    """Return the words that may be spelled, at most 6 letters each."""
    text = resources.files(__package__).joinpath("spelling.txt").read_text(encoding="utf-8")
    return tuple(text.split())


def spell(draw: Draw) -> QaSample:
    """Draw a word to be spelled."""
    word = draw.rng.choice(spelling_words())
    carrier = draw.carrier("spell")
    question = ask(draw.rng, carrier, {"word": Slot(word)})
    letters = ", ".join(word.upper())
    answer = sentence(load("talk")["answers"]["spell"].format(word=word, letters=letters))
    return QaSample("spell", question, None, None, answer, carrier.id, (word,), tuple(word))


def role(draw: Draw) -> QaSample:
    """Draw a request to talk like somebody, or to stop it."""
    roles = load("talk")["roles"]
    name = draw.rng.choice(tuple(roles))
    carrier = draw.carrier(*("role/set",) * 5, "role/normal")
    question = ask(draw.rng, carrier, {"role": Slot(name)})
    if carrier.group == "role/normal":
        answer, key = load("talk")["role_normal"]
        return QaSample("role", question, None, None, answer, carrier.id, ("normal",), tuple(key))
    words = words_of(name)
    return QaSample(
        "role", question, None, None, roles[name][0], carrier.id, (words[1],), (words[1],)
    )


def role_start(request: QaSample) -> str:
    """Return the words that answers begin with after a role request; "" after one to stop."""
    for name, (_, start) in load("talk")["roles"].items():
        if words_of(name)[1] == request.slots[0]:
            return str(start)
    return ""


def style(draw: Draw) -> QaSample:
    """Draw a request to speak in another way: from now on, at a level, or once."""
    talk = load("talk")
    groups = [f"style/{name}" for name in talk["styles"]]
    carrier = draw.carrier(*groups, "style/level", "style/level", "style/once", "style/once")
    name = carrier.group.removeprefix("style/")
    if name == "once":
        words, manner = free_words(draw, 4), draw.rng.choice(tuple(talk["style_manner"]))
        slots = {"words": Slot(" ".join(words)), "manner": Slot(manner)}
        answer, key, values = sentence(" ".join(words)) + ".", words, (manner, *words)
    elif name == "level":
        template, whats, levels = talk["style_level"]
        what, level = draw.rng.choice(whats), draw.rng.choice(levels)
        slots = {"what": Slot(what), "level": Slot(level)}
        answer, key, values = template.format(what=what, level=level), (what, level), (what, level)
    else:
        slots, values = {}, (name,)
        answer, words_heard = talk["styles"][name]
        key = tuple(words_heard)
    question = ask(draw.rng, carrier, slots)
    return QaSample("style", question, None, None, answer, carrier.id, values, key)
