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
    # Of a book: "CHAPTER IV".
    r"|\b[A-Z][A-Za-z]+\s[IVXLC]+\b"
)

_MONTHS: Final = (
    "January|February|March|April|May|June|July|August|September|October|November|December"
)
_DECADES: Final = {
    **{"1": "tens", "2": "twenties", "3": "thirties", "4": "forties", "5": "fifties"},
    **{"6": "sixties", "7": "seventies", "8": "eighties", "9": "nineties"},
}
_SHORT_MONTHS: Final = {month[:3]: month for month in _MONTHS.split("|")}
_COINS: Final = {
    "$": ("dollars", "cents"),
    "€": ("euros", "cents"),
    "£": ("pounds", "pence"),
}
_ROMAN: Final = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
_PARTS: Final = "Chapter|Part|Book|Act|Scene|Volume|Section|Canto|Appendix"

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
    _rule(r"\b(?!(?:The|Mount|Port|Fort)\b)([A-Z]\w+|\d+(?:st|nd|rd|th))\s+St\.", r"\1 Street"),
    _rule(r"\bStreet(?=\s*$)", "Street."),
    _rule(r"\bSt\.(?=\s+[A-Z])", "Saint"),
    _rule(r"(?<=\w)\s+Ave\.", " Avenue"),
    _rule(r"(?<=\w)\s+Blvd\.", " Boulevard"),
    _rule(r"\b([ap])\.m\.(?=\s*$)", r"\1m."),
    _rule(r"\b([ap])\.m\.", r"\1m"),
    _rule(
        rf"\b({_PARTS}|{_PARTS.upper()})\s+([IVXLC]{{2,}}|[VXLC]|I(?=\s*(?:[.,:;—-]|$)))(?![\w'])",
        lambda m: f"{m[1]} {_roman(m[2])}",
    ),
    # A telephone number is read digit by digit.
    _rule(
        r"(?<![\d-])(?:\+?1[- ])?(?:\(\d{3}\)\s?|\d{3}-)?\d{3}-\d{4}(?![\d-])",
        lambda m: _digits(m[0]),
    ),
    _rule(rf"\b({'|'.join(_SHORT_MONTHS)})\.?\s+(?=\d)", lambda m: f"{_SHORT_MONTHS[m[1]]} "),
    _rule(
        rf"\b(\d{{1,2}})\s+({_MONTHS})(?=,?\s+\d{{4}}\b)", lambda m: f"the {_nth(m[1])} of {m[2]}"
    ),
    _rule(rf"\b({_MONTHS})\s+(\d{{1,2}})(?=,|\s|\.|$)(?!\s*:)", lambda m: f"{m[1]} {_nth(m[2])}"),
    _rule(r"\b(1[1-9]|20)([1-9])0s\b", lambda m: f"{m[1]} {_DECADES[m[2]]}"),
    _rule(r"(?<!\d)(1[0-9]|20)(\d\d)-(1[0-9]|20)(\d\d)(?![\d-])", r"\1\2 to \3\4"),
    _rule(r"(?<=\d)\s?(?:M|mn)\b", " million"),
    _rule(r"(?<=\d)\s?(?:B|bn)\b", " billion"),
    _rule(r"([$€£])(\d[\d,]*)\.(\d\d)(?![\d]|\s[mb]illion)", lambda m: _money(m[1], m[2], m[3])),
    # The grammar leaves the "one" of "one thousand" away.
    _rule(r"([$€£])1,?(\d{3})(?![\d.]|,\d)", lambda m: _money(m[1], f"1{m[2]}", "00")),
    _rule(
        r"(?<![\d.,$€£¥])1,(\d{3})(?!\d|,\d)", lambda m: f"one thousand {int(m[1]) or ''}".strip()
    ),
    _rule(r"\b[vV](?=\d)", "version "),
    _rule(r"\b\d+(?:\.\d+){2,}\b", lambda m: m[0].replace(".", " point ")),
    _rule(r"(\d)['′]\s?(\d{1,2})(?:\"|″|'')", r"\1 foot \2"),
    _rule(r"\b24/7\b", "24 7"),
    _rule(r"(?<=\d)\s?m/s\b", " meters per second"),
    _rule(r"(?<=\d)\s?sec\b\.?(?=\s*[a-z,;])", " seconds"),
    _rule(r"(?<=[A-Za-z])\s*=\s*(?=\w)", " equals "),
    _rule(r"(?<=\d)\s?m(?=[\s,.;:!?)]|$)", " meters"),
    _rule(r"(?<=\d)\s?m[lL]\b", " milliliters"),
    _rule(r"(?<![\w.])-(?=\d)", "minus "),
)
_CHINESE: Final[tuple[Rule, ...]] = (
    # Of a name, such as GPT-4: no minus, no range.
    _rule(r"(?<=[A-Za-z])-(?=\d)", " "),
    _rule(r"(?<=第)(\d+)\s?[-–—~～]\s?(?=\d)", r"\1至第"),
)
_AFTER: Final[tuple[Rule, ...]] = (
    # American usage, and what nano has learned: "one hundred twenty", "eight p m".
    _rule(r"\b(hundred|thousand|million) and (?=[a-z])", r"\1 "),
    _rule(r"\bo (?=(?:one|two|three|four|five|six|seven|eight|nine)\b)", "oh "),
    _rule(r"\b([AP])M\b", lambda m: f"{m[1].lower()} m"),
)


def normalized(text: str, *, chinese: bool = True) -> str:
    """Return one sentence as it is read aloud, in Chinese if it has Chinese characters in it.

    Never fails: what the grammars cannot read stays as it is.

    Args:
        text: the sentence.
        chinese: whether the model reads Chinese; else figures are read in English anyway.
    """
    if not _TO_EXPAND.search(text):
        return text
    if chinese and _CJK.search(text):
        for pattern, said in _CHINESE:
            text = pattern.sub(said, text)
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
    # Quotes come back with a backslash before them.
    return lambda text: re.sub(r"\\(.)", r"\1", str(normalizer.normalize(text)))


def _digits(number: str) -> str:
    return ", ".join(" ".join(part) for part in re.findall(r"\d+", number))


def _roman(number: str) -> int:
    """Return the value of a Roman number, whether or not it is well formed."""
    values = [_ROMAN[letter] for letter in number]
    following = [*values[1:], 0]
    return sum(v if v >= after else -v for v, after in zip(values, following, strict=True))


def _nth(day: str) -> str:
    n = int(day)
    ending = "th" if 10 < n < 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


def _money(sign: str, whole: str, part: str) -> str:
    notes, coins = _COINS[sign]
    amount = int(whole.replace(",", ""))
    if amount == 0 and part != "00":
        return f"{int(part)} {coins}"
    if amount == 1:
        said = f"one {notes.removesuffix('s')}"
    elif 1000 <= amount < 2000:
        said = f"one thousand {amount - 1000 or ''}".strip() + f" {notes}"
    else:
        said = f"{amount} {notes}"
    return said if part == "00" else f"{said} and {int(part)} {coins}"
