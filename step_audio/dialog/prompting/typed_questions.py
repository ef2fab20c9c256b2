"""Typed questions in words, for a model that was taught words and no figures.

Such a model knows "twelve plus thirty" and has never met "12 + 30". What people type goes through
the rules of texts that are read aloud, after the signs of a sum, which mean something else in
prose: "10 - 4" is a subtraction here and a score there. English that is written shorter than it is
said ("hi", "thx", "whats", "don't") is written out.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from step_audio.core.profile import LanguageCode
from step_audio.core.types import TextOptions
from step_audio.dialog.speakable.reader import read_text

MOST_CHARS: Final = 2000
"""Of a longer text the rest stays as it is: the model has no room for it anyhow."""

_NUMBER: Final = r"\d[\d.,]*"
_PLUS: Final = {"+": "plus", "-": "minus", "−": "minus", "–": "minus"}
_TIMES: Final = dict.fromkeys("*×x·", "times")
_SIGNS: Final = _PLUS | _TIMES | dict.fromkeys("/÷:", "divided by")
_SIGN: Final = re.compile(
    rf"(?<![\w.,:/-])({_NUMBER}) ?([+*×·÷x]) ?(?={_NUMBER}(?![\w/:-]))"  # "12+30", "7x8"
    rf"|(?<![\w.,:/-])({_NUMBER}) ([-−–/:]) (?={_NUMBER}(?![\w/:-]))",  # "10 - 4", not "9/11"
    re.IGNORECASE,
)
_ALONE: Final = re.compile(
    rf"\s*{_NUMBER}(?:\s*[-+*×·÷x/−–:]\s*{_NUMBER})+\s*=?\s*\??\s*", re.IGNORECASE
)
_OTHER_SIGN: Final = re.compile(rf"({_NUMBER})\s*([-/:−–])\s*(?={_NUMBER})")
_QUOTIENT: Final = re.compile(
    rf"((?:what|how much)(?:'s| is|s)|calculate|compute)\s+({_NUMBER})\s*/\s*"
    rf"(?={_NUMBER}\s*\??\s*$)",
    re.IGNORECASE,
)
_SCALE: Final = re.compile(r"\b(in|to|into) (?:degrees? )?°?([CF])\b(?=\W*$)")
_SCALES: Final = {"C": "Celsius", "F": "Fahrenheit"}
_UNITS: Final = {
    **{"km": "kilometers", "m": "meters", "cm": "centimeters", "mi": "miles", "ft": "feet"},
    **{"kg": "kilograms", "g": "grams", "lb": "pounds", "lbs": "pounds", "oz": "ounces"},
    **{"l": "liters", "gal": "gallons", "min": "minutes", "h": "hours", "s": "seconds"},
}
_UNIT: Final = re.compile(rf"\b(in|to|into) ({'|'.join(_UNITS)})\b(?=\W*$)")
"""A unit that no figure stands before, which the rules of texts leave as it is."""

_SHORT: Final = {
    "hi": "hello",
    "hiya": "hello",
    "heya": "hello",
    "thx": "thanks",
    "thnx": "thanks",
    "ty": "thank you",
    "cya": "see you",
    "pls": "please",
    "plz": "please",
    "u": "you",
    "ur": "your",
    "whats": "what is",
    "hows": "how is",
    "whos": "who is",
    "wheres": "where is",
    "thats": "that is",
    "im": "i am",
    "youre": "you are",
    "dont": "do not",
    "doesnt": "does not",
    "didnt": "did not",
    "isnt": "is not",
    "cant": "can not",
}
"""What is typed shorter than it is said. Nothing that is another word too ("were", "id", "r")."""
_SHORT_WORD: Final = re.compile(rf"(?<![\w'’])({'|'.join(_SHORT)})(?![\w'’])", re.IGNORECASE)
_LEFT_OUT: Final = (
    (re.compile(r"\bcan['’]t\b|\bcannot\b", re.IGNORECASE), "can not"),
    (re.compile(r"\bwon['’]t\b", re.IGNORECASE), "will not"),
    (re.compile(r"(?<=[a-z])n['’]t\b", re.IGNORECASE), " not"),
    (re.compile(r"(?<=\w)['’]ll\b", re.IGNORECASE), " will"),
    (re.compile(r"(?<=\w)['’]ve\b", re.IGNORECASE), " have"),
    (re.compile(r"\b(it|that|there|here)['’]s\b", re.IGNORECASE), r"\1 is"),
)
_CONVERT: Final = re.compile(r"(\bconvert\b) (\W*\d.*?) (?:in)?to (?=\w)", re.IGNORECASE)


@lru_cache(maxsize=1024)
def in_words(text: str, languages: tuple[LanguageCode, ...] = ()) -> str:
    """Return a typed question as it would be said; "" stays "".

    Args:
        text: what somebody typed.
        languages: that the model was taught.
    """
    head, rest = text[:MOST_CHARS], text[MOST_CHARS:]
    if not any(char.isalnum() for char in head):
        return text
    if _ALONE.fullmatch(head):
        head = "what is " + _OTHER_SIGN.sub(_spelled, head.strip().rstrip("=? ")) + "?"
    head = _QUOTIENT.sub(lambda found: f"{found[1]} {found[2]} divided by ", head)
    head = _SIGN.sub(
        lambda found: f"{found[1] or found[3]} {_SIGNS[(found[2] or found[4]).lower()]} ", head
    )
    head = _CONVERT.sub(r"what is \2 in ", head)
    if not languages or "en" in languages:
        head = _written_out(head)
    head = _SCALE.sub(lambda found: f"{found[1]} {_SCALES[found[2]]}", head)
    head = _UNIT.sub(lambda found: f"{found[1]} {_UNITS[found[2]]}", head)
    options = TextOptions(style_tags=False, unreadable="skip")
    said = " ".join(sentence.text for sentence in read_text(head, options, languages))
    # A text in letters that the model does not know: it says so itself better than silence does.
    return (said or head) + rest


def _written_out(text: str) -> str:
    """Return English with its shortened words as they are said, a capital where one stood."""

    def long(found: re.Match[str]) -> str:
        said = _SHORT[found[1].lower()]
        return said[0].upper() + said[1:] if found[1][0].isupper() else said

    text = _SHORT_WORD.sub(long, text)
    for pattern, said in _LEFT_OUT:
        text = pattern.sub(said, text)
    return text


def _spelled(found: re.Match[str]) -> str:
    return f"{found[1]} {_SIGNS[found[2]]} "
