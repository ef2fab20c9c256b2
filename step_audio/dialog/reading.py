"""Text as it is written -> text as it is read aloud: numbers, dates, units, abbreviations.

wetext's grammars (English, Chinese) do the work. What they misread in English is put into words
that they cannot misread first. Text without anything to expand never loads them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Literal

_LOG = logging.getLogger(__name__)

Language = Literal["en", "zh"]

_CJK: Final = re.compile(r"[\u3400-\u9fff]")
_TO_EXPAND: Final = re.compile(
    r"\d|[%$€£¥￥°℃℉&@#+=]|\b(?:[A-Za-z]{1,6}\.(?=[\s,;:)]|\S|$)|[A-Za-z]\.[a-z]\.)"
)

_MONTHS: Final = (
    "January|February|March|April|May|June|July|August|September|October|November|December"
)
_DECADES: Final = {
    **{"1": "tens", "2": "twenties", "3": "thirties", "4": "forties", "5": "fifties"},
    **{"6": "sixties", "7": "seventies", "8": "eighties", "9": "nineties"},
}
_COINS: Final = {"$": ("$", "cents"), "€": ("€", "cents"), "£": ("£", "pence")}

Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]


def _rule(pattern: str, said: str | Callable[[re.Match[str]], str]) -> Rule:
    return re.compile(pattern), said


_ENGLISH: Final[tuple[Rule, ...]] = (
    _rule(r"\b[Ee]\.g\.,?", "for example"),
    _rule(r"\b[Ii]\.e\.,?", "that is"),
    _rule(r"\b[Ee]tc\.(?=\s*[a-z,;])", "et cetera"),
    _rule(r"\b[Ee]tc\.", "et cetera."),
    _rule(r"\b[Vv]s\.?(?=\s)", "versus"),
    _rule(r"\b[Aa]pprox\.(?=\s)", "approximately"),
    _rule(r"\bMrs\.(?=\s)", "Missis"),
    _rule(r"\bMs\.(?=\s)", "Miss"),
    _rule(r"\bProf\.(?=\s)", "Professor"),
    _rule(r"\bDept\.(?=\s)", "Department"),
    _rule(r"\b[Nn]os?\.\s*(?=\d)", "number "),
    _rule(r"#(?=\d)", "number "),
    _rule(r"(?<=[a-z])\s+St\.", " Street"),
    _rule(r"\bSt\.(?=\s+[A-Z])", "Saint"),
    # A telephone number is read digit by digit.
    _rule(r"(?<![\d-])(?:\d{3}-)?\d{3}-\d{4}(?![\d-])", lambda m: _digits(m[0])),
    _rule(rf"\b({_MONTHS})\s+(\d{{1,2}})(?=,|\s|\.|$)(?!\s*:)", lambda m: f"{m[1]} {_nth(m[2])}"),
    _rule(r"\b(1[1-9]|20)([1-9])0s\b", lambda m: f"{m[1]} {_DECADES[m[2]]}"),
    _rule(r"([$€£])(\d[\d,]*)\.(\d\d)(?!\d)", lambda m: _money(m[1], m[2], m[3])),
    _rule(r"(?<=\d)\s?m(?=[\s,.;:!?)]|$)", " meters"),
    _rule(r"(?<=\d)\s?m[lL]\b", " milliliters"),
    _rule(r"(?<![\w.])-(?=\d)", "minus "),
)
_AFTER: Final[tuple[Rule, ...]] = (
    # American usage, and what nano has learned: "one hundred twenty", "eight p m".
    _rule(r"\b(hundred|thousand|million) and (?=[a-z])", r"\1 "),
    _rule(r"\bo (?=(?:one|two|three|four|five|six|seven|eight|nine)\b)", "oh "),
    _rule(r"\b([AP])M\b", lambda m: f"{m[1].lower()} m"),
)


def spoken_form(text: str, *, chinese: bool = True) -> str:
    """Return one sentence as it is read aloud, in Chinese if it has Chinese characters in it.

    Never fails: what the grammars cannot read stays as it is.

    Args:
        text: the sentence.
        chinese: whether the model reads Chinese; else figures are read in English anyway.
    """
    if not _TO_EXPAND.search(text):
        return text
    if chinese and _CJK.search(text):
        return _normalised(text, "zh")
    for pattern, said in _ENGLISH:
        text = pattern.sub(said, text)
    if not _TO_EXPAND.search(text):
        return text
    text = _normalised(text, "en")
    for pattern, said in _AFTER:
        text = pattern.sub(said, text)
    return text


def _normalised(text: str, language: Language) -> str:
    """Return what the grammars make of a text; word by word where they choke on the whole."""
    normalise = _grammar(language)
    try:
        return normalise(text)
    # The grammars assert that a path through them exists; for odd mixtures there is none.
    except (AssertionError, RuntimeError, ValueError) as error:
        _LOG.debug("text not normalised as a whole", extra={"error": repr(error)})
    return "".join(_word(piece, normalise) for piece in re.split(r"(\s+)", text))


def _word(word: str, normalise: Callable[[str], str]) -> str:
    try:
        return normalise(word) if _TO_EXPAND.search(word) else word
    except (AssertionError, RuntimeError, ValueError):
        return word


@lru_cache
def _grammar(language: Language) -> Callable[[str], str]:
    # Half a second, which only text with numbers or signs pays for.
    from wetext import Normalizer  # noqa: PLC0415

    normalizer = Normalizer(lang=language, operator="tn")
    return lambda text: str(normalizer.normalize(text))


def _digits(number: str) -> str:
    return ", ".join(" ".join(part) for part in number.split("-"))


def _nth(day: str) -> str:
    n = int(day)
    ending = "th" if 10 < n < 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


def _money(sign: str, whole: str, part: str) -> str:
    mark, coins = _COINS[sign]
    return f"{mark}{whole}" if part == "00" else f"{mark}{whole} and {int(part)} {coins}"
