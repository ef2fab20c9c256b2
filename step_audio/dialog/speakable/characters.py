"""Characters that only look like letters, or like nothing -> the plain letters they stand for.

People write in bold, circled, full-width or small capital letters, in the digits of other scripts,
and copy marks without width along. A reader sees words; a model sees characters it never met.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

_TERMINAL: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")
"""Colours and cursor moves of a terminal, as logs have them."""
_SPACES: Final = re.compile(r"[\s\x1c-\x1f\x85\u180e\u2028\u2029\u3164\uffa0]")
_LINE_HYPHEN: Final = re.compile(
    # No possessive group: Python before 3.11.5 loses the captures around it.
    r"(?<![^\W_])((?<=[^\W\d_][-\u2010]))?([^\W\d_]++)([-\u2010\u00ad\u00ac])"
    r"[ \t]*+(?:\r?\n|\f|\x0b)\s*+([a-z\u00df-\u00ff]++)(?=([-\u2010][a-z])?)"
)
_KEPT_HYPHEN: Final = frozenset(
    re.findall(
        r"[\w:-]+",
        "all double ex free full half hand hard high ill left long low mid old open right self "
        "short single well wide world twenty thirty forty fifty sixty seventy eighty ninety",
    )
)
"""First halves of words that are written with a hyphen more often than together."""

_UNCOMPOSED: Final = {
    # Nothing of these is known to compatibility decomposition.
    **{0x1F150 + n: chr(65 + n) for n in range(26)},
    **{0x1F170 + n: chr(65 + n) for n in range(26)},
    **{
        ord(c): p
        for c, p in zip("ʙᴄᴅꜰɢʜɪᴊᴋʟᴍɴᴏᴘǫʀꜱᴛᴜᴠᴡʏᴢᴀᴇ", "bcdfghijklmnopqrstuvwyzae", strict=True)
    },
    # These become an accent on a space.
    **dict.fromkeys((0xB4, 0x2CA, 0x2CB, 0x1FEF, 0x1FFD), "'"),
    **dict.fromkeys((0xA8, 0xAF, 0xB8, 0x2D8, 0x2D9, 0x2DA, 0x2DB, 0x2DC, 0x2DD), " "),
    **{0x2116: "No. ", 0x2122: " ", 0xAE: " ", 0x2120: " ", 0x066A: "%", 0x066B: ".", 0x066C: ","},
    **{0x20E3: None, 0xBA: "\u00b0", 0x2044: "/"},
}
_BRACKETED: Final = {
    **{0x249C + n: chr(97 + n) for n in range(26)},
    **{0x1F110 + n: chr(65 + n) for n in range(26)},
}
_CIRCLED: Final = re.compile(r"(?<=[①-⑳❶-❿➀-➓])(?=[①-⑳❶-❿➀-➓])")
_FLAG: Final = re.compile(r"(?<![\U0001f1e6-\U0001f1ff])[\U0001f1e6-\U0001f1ff]{2}"
                          r"(?![\U0001f1e6-\U0001f1ff])")  # fmt: skip
_FLAG_LETTERS: Final = {0x1F1E6 + n: chr(65 + n) for n in range(26)}

_FRACTION: Final = re.compile(r"(\d\s?)?([\u00bc-\u00be\u2150-\u215e\u2189])")
_RAISED: Final = re.compile(
    r"(?<=([^\W_]|\)))([\u207a\u207b]?[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+)"
)
_FOOTNOTE: Final = re.compile(r"(?<=[^\W\d_]{4})[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+")

_CJK: Final = re.compile(r"[\u2e80-\u2fff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7a3]")
_CJK_MARKS: Final = re.compile(r"([！（），．：；？［］｛｝～…‥｢｣｡､])")
_WIDE_MARK: Final = re.compile(r"([，；：！？。、])(?=\S)")
_HALF_MARKS: Final = str.maketrans("｢｣｡､", "「」。、")
_BETWEEN_DIGITS: Final = re.compile(
    r"(?<=[０-９])(?:[：．～](?=[０-９])|，(?=[０-９]{3}(?![０-９])))"
)
_PLAIN_MARKS: Final = str.maketrans("：．，～", ":.,~")

_LOOKALIKES: Final = dict(
    zip(
        "аеорсухіјѕһԁԛԝАВЕКМНОРСТХУІЈЅΑΒΕΖΗΙΚΜΝΟΡΤΥΧο",
        "aeopcyxijshdqwABEKMHOPCTXYIJSABEZHIKMNOPTYXo",
        strict=True,
    )
)
_MIXED: Final = re.compile(r"[^\W\d_]+")


def cleaned(text: str) -> str:
    """Return a text in plain characters: no controls, no marks without width, no costumes."""
    if text.isascii() and text.isprintable():
        return text
    text = joined_lines(_TERMINAL.sub("", text))
    text = _SPACES.sub(" ", text)
    if text.isascii():
        return "".join(c for c in text if c.isprintable())
    text = _BETWEEN_DIGITS.sub(lambda m: m[0].translate(_PLAIN_MARKS), text)
    text = _CIRCLED.sub(" ", text)
    text = _FLAG.sub(" ", text).translate(_FLAG_LETTERS)
    text = _RAISED.sub(_raised, _FOOTNOTE.sub("", _FRACTION.sub(_fraction, text)))
    text = text.translate(_UNCOMPOSED).translate(_BRACKETED)
    text = "".join(_plain(_composed(text)))
    return _MIXED.sub(_without_lookalikes, text)


def has_words(text: str) -> bool:
    """Return whether there is a letter or figure in a text, in whatever costume."""
    if any(c.isalnum() for c in text):
        return True
    return not text.isascii() and any(c.isalnum() for c in cleaned(text))


def joined_lines(text: str) -> str:
    """Return a text with the words put together that a hyphen at the end of a line cut."""
    return _LINE_HYPHEN.sub(_joined, text)


def _joined(found: re.Match[str]) -> str:
    chained, first, hyphen, last, another = found.groups()
    several = another or chained is not None or first.lower() in _KEPT_HYPHEN
    return f"{first}-{last}" if several and hyphen in "-\u2010" else first + last


def _fraction(found: re.Match[str]) -> str:
    said = unicodedata.normalize("NFKC", found[2]).replace("\u2044", "/")
    return f"{found[1].strip()} {said}" if found[1] else said


def _raised(found: re.Match[str]) -> str:
    digits = unicodedata.normalize("NFKC", found[2]).replace("\u2212", "-")
    return f"^{digits}"


def _composed(text: str) -> str:
    """Return the text in compatibility form; Chinese keeps the marks of its print."""
    if not _CJK.search(text):
        return unicodedata.normalize("NFKC", _WIDE_MARK.sub(r"\1 ", text))
    parts = _CJK_MARKS.split(text)
    return "".join(
        part.translate(_HALF_MARKS) if n % 2 else unicodedata.normalize("NFKC", part)
        for n, part in enumerate(parts)
    )


def _plain(text: str) -> Iterator[str]:
    """Yield the characters that are read: digits in ours, accents only where letters take them."""
    latin = True
    for char in text:
        if char.isascii():
            latin = True
            if char.isprintable():
                yield char
            continue
        category = unicodedata.category(char)
        if category == "Nd":
            yield str(unicodedata.decimal(char))
        elif category == "No" and (digit := unicodedata.digit(char, -1)) >= 0:
            yield str(digit)
        elif category == "No" and (number := _whole(char)) is not None:
            yield str(number)
        elif category in {"Mn", "Me"}:
            if not latin:  # an accent that no letter has is a line through it
                yield char
        elif category[0] == "Z":
            yield " "
        elif category[0] != "C" and char not in "\ufffd\ufffc":
            if category[0] == "L":
                latin = _is_latin(char)
            yield char


def _whole(char: str) -> int | None:
    number = unicodedata.numeric(char, -1.0)
    return int(number) if number >= 0 and number.is_integer() else None


@lru_cache(maxsize=4096)
def _is_latin(char: str) -> bool:
    return unicodedata.name(char, "").startswith(("LATIN", "GREEK", "CYRILLIC"))


def _without_lookalikes(found: re.Match[str]) -> str:
    """Return a word of Latin letters with strangers among them that only look like Latin ones."""
    word = found[0]
    if word.isascii() or not any(c.isascii() for c in word):
        return word
    return "".join(_LOOKALIKES.get(c, c) for c in word)
