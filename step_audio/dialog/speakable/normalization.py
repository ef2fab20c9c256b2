"""Figures and abbreviations -> the words that people read them as.

wetext's grammars (English, Chinese) read figures. In English they are given one figure at a time:
given a whole sentence they lose words that they take for something else. A text without figures
never loads them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Literal

from step_audio.dialog.speakable.cardinals import cardinal, digits, ordinal, year

_LOG = logging.getLogger(__name__)

Language = Literal["en", "zh"]
Replacement = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]

_ROMAN: Final = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
_PARTS: Final = "Chapter|Part|Book|Act|Scene|Volume|Section|Canto|Appendix|Article|Phase|Type|Level"
_TITLES: Final = (
    "King|Queen|Pope|Henry|Louis|Charles|George|Edward|William|Elizabeth|Richard|James|John Paul|"
    "Benedict|Philip|Napoleon|Nicholas|Frederick|Leopold|Pius"
)
_EVENTS: Final = "World War|Super Bowl"


_WEEKDAYS: Final = {
    day[:3].lower(): day
    for day in ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
}
_WEEKDAY: Final = r"Mon|Tues?|Wed|Thu(?:rs?)?|Fri|Sat|Sun"


def _weekdays(found: re.Match[str]) -> str:
    first, last = (_WEEKDAYS[day[:3].lower()] for day in found.groups())
    return f"{first} to {last}"


def _pairs(*rules: tuple[str, str | Callable[[re.Match[str]], str]]) -> tuple[Replacement, ...]:
    return tuple((re.compile(pattern), said) for pattern, said in rules)


_ABBREVIATIONS: Final = _pairs(
    (r"\b[Ee]\.\s?g\.,?", "for example"),
    (r"\b[Ii]\.\s?e\.,?", "that is"),
    (r"\b[Ee]tc\.(?=\s*[a-z,;])", "et cetera"),
    (r"\b[Ee]tc\.", "et cetera."),
    (r"\b[Vv]s\.?(?=\s)", "versus"),
    (r"\b[Aa]pprox\.(?=\s)", "approximately"),
    (r"\ba\.k\.a\.", "also known as"),
    (r"\bMr\.?(?=\s+[A-Z])", "Mister"),
    (r"\bMrs\.?(?=\s)", "Missis"),
    (r"\bMs\.(?=\s)", "Miss"),
    (r"\bDr\.?(?=\s+[A-Z])", "doctor"),
    (r"\bCol\.(?=\s+[A-Z])", "Colonel"),
    (r"(?<=[\w,] )Inc\.?(?=[\s,]|$)", "Incorporated"),
    (r"(?<=\w )Ltd\.?(?=[\s,]|$)", "Limited"),
    (r"(?<=\w )Corp\.?(?=[\s,]|$)", "Corporation"),
    (r"\bProf\.(?=\s)", "Professor"),
    (r"\bDept\.(?=\s)", "Department"),
    (r"\bGov\.(?=\s+[A-Z])", "Governor"),
    (r"\bSen\.(?=\s+[A-Z])", "Senator"),
    (r"\bRev\.(?=\s+[A-Z])", "Reverend"),
    (r"\bCapt\.(?=\s+[A-Z])", "Captain"),
    (r"\bSgt\.(?=\s+[A-Z])", "Sergeant"),
    (r"\bLt\.(?=\s+[A-Z])", "Lieutenant"),
    (r"\bGen\.(?=\s+[A-Z])", "General"),
    (r"\bMt\.(?=\s+[A-Z])", "Mount"),
    (r"\bJr\.(?=\s*[a-z,;])|\bJr(?=\.?$|\.?\s)", "junior"),
    (r"\bSr\.(?=\s*[a-z,;])|(?<=[a-z] )Sr(?=\.?$|\.?\s)", "senior"),
    (r"\bFig\.\s*(?=\d)", "Figure "),
    (r"\bfig\.\s*(?=\d)", "figure "),
    (r"\b[Vv]ol\.\s*(?=\d)", "volume "),
    (r"\b[Cc]h\.\s*(?=\d)", "chapter "),
    (r"\bpp\.\s*(?=\d)", "pages "),
    (r"\bp\.\s*(?=\d)", "page "),
    (r"\bca?\.\s?(?=1\d{3}\b|20\d\d\b)", "circa "),
    (r"\b[Tt]el\.\s*:?\s*(?=[+(\d])", "telephone "),
    (r"\b[Ee]xt\.\s*(?=\d)", "extension "),
    (r"\b[Aa]pt\.\s*(?=\d)", "apartment "),
    (rf"\b({_WEEKDAY})\.?\s?[-\u2013\u2014/]\s?({_WEEKDAY})\b(?!-)", _weekdays),
    # A word where no number follows.
    (r"\b([Nn])os\.\s*(?=#?\d)", lambda m: "Numbers " if _opens(m) else "numbers "),
    (r"\b([Nn])o\.\s*(?=#?\d)", lambda m: "Number " if _opens(m) else "number "),
    (r"\bNr\.\s*(?=\d)", "number "),
    (r"\b(?!(?:The|Mount|Port|Fort)\b)([A-Z]\w+|\d+(?:st|nd|rd|th))\s+St\.", r"\1 Street"),
    (r"\bStreet(?=\s*$)", "Street."),
    (r"\bSt\.?(?=\s+[A-Z][a-z])", "Saint"),
    (r"(?<=\w)\s+Ave\.", " Avenue"),
    (r"(?<=\w)\s+Blvd\.", " Boulevard"),
    (r"(?<=\w)\s+Rd\.", " Road"),
    (r"\bPh\.?D\.?(?=\W|$)", "P H D"),
    (r"\b(?:[A-Z]\.){2,}(?=\s+[a-z]|\s+[A-Z]\w|[,;:)'’])", lambda m: " ".join(m[0][::2])),
    (r"\b((?:[A-Z]\.)+[A-Z])\.?(?=\s*$)", lambda m: " ".join(m[1][::2]) + "."),
    (
        rf"\b({_PARTS}|{_PARTS.upper()})\s+([IVXLC]{{2,}}|[VXLC]|I(?=\s*(?:[.,:;—-]|$)))(?![\w'])",
        lambda m: f"{m[1]} {cardinal(_roman(m[2]))}",
    ),
    (
        rf"\b({_TITLES})\s+([IVX]{{2,}}|[VX](?!\.?\s?[A-Z]))(?![\w'.-]\w)",
        lambda m: f"{m[1]} the {ordinal(_roman(m[2]))}",
    ),
    (rf"\b({_EVENTS})\s+([IVXLC]+)\b", lambda m: f"{m[1]} {cardinal(_roman(m[2]))}"),
)  # fmt: skip


def _spoken(number: str) -> str:
    whole, _, part = number.partition(".")
    said = (
        digits(whole)
        if len(whole) > 12 or (whole[0] == "0" and len(whole) > 1)
        else cardinal(int(whole))
    )
    return f"{said} point {digits(part)}" if part else said


def _over(found: re.Match[str]) -> str:
    return f"{found[1]} over {found[2]}" if int(found[1]) > int(found[2]) else found[0]


def _scientific(found: re.Match[str]) -> str:
    minus = "minus " if found[2] == "-" else ""
    return f"{_spoken(found[1])} times ten to the power of {minus}{cardinal(int(found[3]))}"


def _decimal(found: re.Match[str]) -> str:
    before = f"{found[1]} " if found[1] else ""
    behind = found.string[found.end() : found.end() + 1]
    whole, _, part = found[2].partition(".")
    said = f"{_spoken(whole)} point {digits(part)}" if whole else f"point {digits(part)}"
    return f"{before}{said}{' ' if behind.isalpha() else ''}"


_FORMS: Final = _pairs(
    (r"\b[vV](?=\d+\.\d)|\bv(?=\d)", "version "),
    (r"(?<![\w.])(\d{1,2})(\d\d)([pi])\b", r"\1 \2 \3"),
    (r"(?<![\w/])(\d/\d{1,2})(?:rds?|ths?)\b", r"\1"),
    (
        r"(?<![\w.])\d+(?:\.\d+){2,}(?![\w])",
        lambda m: " point ".join(_spoken(part) for part in m[0].split(".")),
    ),
    (r"(?<![\w.])(\d+)['′]\s?(\d{1,2})(?:\"|″|'')(?!\w)", r"\1 foot \2"),
    (r"(?<![\w.])(\d+)([A-Z])s(?!\w)", r"\1 \2s"),
    (r"(?<![\w/.])(\d+)/(\d+)/(\d+)(?![\w/])", r"\1, \2, \3"),
    (r"(?<![\w/.])(\d{2,3})/([2-9]\d|1\d\d)(?![\w/.]\w|/)", _over),
    (r"(?<![\w.])(\d+)\"(?=\s(?:tall|wide|long|high|deep|thick)\b)", r"\1 inches"),
    (r"(?<![\w.])(\d+)\"(?=\s(?:screen|monitor|pipe|tv|TV|display|wheel|nail)\b)", r"\1 inch"),
    (r"(?<=\d)\s?sec\b\.?(?=\s*[a-z,;])", " seconds"),
    (r"(?<=\d)_(?=\d{3})", ""),
    (r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([-+]?)(\d{1,3})(?!\w)", _scientific),
    (r"(?<![\w.,:])([1-9])000(?!\w|[.,:]\d)", lambda m: cardinal(int(m[0]))),
    (r"(?<=\d)-([a-z]+)-(?=\d)", r" \1 "),
    (r"(?<=[A-Za-z])-(?=\d)", " "),
    (r"(?<![\w.])(\d+)(?:st|nd|rd|th)(?![^\W_])", lambda m: ordinal(int(m[1]))),
    (r"(?<![\w/])(\d+)/0(?!\w|[.,/]\d)", r"\1 divided by 0"),
    (r"(?<![\w.])(\d+)h\s?(\d+)m(?:in)?(?!\w)", lambda m: _lasting(m, "hour", "minute")),
    (r"(?<![\w.])(\d+)m\s?(\d+)s(?!\w)", lambda m: _lasting(m, "minute", "second")),
    (r"(?<![\w.,-])(\d[\d,]*(?:\.\d+)?)-(\d[\d,]*(?:\.\d+)?)(?![\w-]|[.,]\d)", r"\1 to \2"),
    (r"([A-Za-z]*)(?<![\d.,])(\d*\.\d+)(?=[A-Za-z]|$|[^\w.,-]|[.,](?!\d))", _decimal),
    (r"(?<=\d),(?=\d)", ", "),
    (r"(?<![\w.,])1[1-9]0[1-9](?!\w|[.,:]\d)", lambda m: year(int(m[0]))),
    (r"(?<![\w.])1/2 (?=(?:an?|the)\b)", "half "),
)  # fmt: skip
_INCHES: Final = re.compile(r"(?<=\d)\"(?=\s+[a-zA-Z])(?!\s(?:tall|wide|long|high|deep|thick)\b)")
_AFTER: Final = _pairs(
    # American usage, and what a small model of American speech has learned.
    (r"\b(hundred|thousand|million) and (?=[a-z])", r"\1 "),
    (r"\bo (?=(?:one|two|three|four|five|six|seven|eight|nine)\b)", "oh "),
)
_FIGURE: Final = re.compile(
    r"\d+\s\d/\d{1,2}(?![\d/])|[A-Za-z]*(?:[\d]+[.,:/'-]*[A-Za-z]*[-'/]?)*\d(?:[A-Za-z]+(?:[-'][A-Za-z]+)*)?"
)
_LETTERS: Final = re.compile(r"[^\W\d_]{3,}")
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")
_MAX_FIGURE: Final = 40


def read_abbreviations(text: str) -> str:
    """Return an English text with titles, "e.g." and the numbers of chapters in words."""
    for pattern, said in _ABBREVIATIONS:
        text = pattern.sub(said, text)
    return text


def read_figures(text: str) -> str:
    """Return an English text with its figures in words."""
    if not any(c.isdigit() for c in text):
        return text
    if text.count('"') % 2:
        text = _INCHES.sub(" inch", text)
    for pattern, said in _FORMS:
        text = pattern.sub(said, text)
    text = _FIGURE.sub(lambda m: _figure(m[0]), text)
    for pattern, said in _AFTER:
        text = pattern.sub(said, text)
    return text


def read_chinese_figures(text: str) -> str:
    """Return a Chinese text with its figures in words; what the grammar cannot read stays."""
    if not re.search(r"[\d%@#&+=°]", text):
        return text
    # Given more, the grammar takes commas for those of thousands.
    return "".join(_chinese_part(part) for part in re.split(r"([，。；！？、：])", text))


def _chinese_part(text: str) -> str:
    if not re.search(r"[\d%@#&+=°]", text):
        return text
    read = _grammar("zh")
    try:
        said = read(text)
        if _keeps_words(text, said):
            return said
    # The grammars assert that a path through them exists; for odd mixtures there is none.
    except (AssertionError, RuntimeError, ValueError) as error:
        _LOG.debug("text not normalised as a whole", extra={"error": repr(error)})
    return "".join(_word(piece, read) for piece in re.split(r"(\s+)", text))


def _opens(found: re.Match[str]) -> bool:
    return found.start() == 0 and found[1] == "N"


def _word(word: str, read: Callable[[str], str]) -> str:
    if not any(c.isdigit() for c in word):
        return word
    try:
        said = read(word)
    except (AssertionError, RuntimeError, ValueError):
        return word
    return said if _keeps_words(word, said) else word


def _keeps_words(written: str, said: str) -> bool:
    """Whether most letters of a text are still there: the grammars sometimes return nothing."""
    letters = sum(c.isalpha() for c in written)
    return bool(said.strip()) and sum(c.isalpha() for c in said) >= letters * 0.7


@lru_cache(maxsize=4096)
def _figure(figure: str) -> str:
    """Return one figure, such as "2024", "5-10", "1/2", "21st", "B2B" or "MP3", in words."""
    if len(figure) <= _MAX_FIGURE:
        try:
            said = _grammar("en")(figure)
        except (AssertionError, RuntimeError, ValueError):
            said = ""
        words = [word.lower() for word in _LETTERS.findall(figure)]
        if (
            said
            and not any(c.isdigit() for c in said)
            and all(w in said.lower() for w in words if w not in _SUFFIXES)
        ):
            return said
    return _NUMBER.sub(lambda m: f" {_spoken(m[0])} ", figure).replace("-", " ").strip()


def _lasting(found: re.Match[str], *units: str) -> str:
    parts = zip((int(found[1]), int(found[2])), units, strict=True)
    return " ".join(f"{cardinal(n)} {unit}{'' if n == 1 else 's'}" for n, unit in parts)


_SUFFIXES: Final = frozenset(
    re.findall(r"[\w:-]+", "min sec hrs mph lbs jan feb mar apr jun jul aug sep oct nov dec")
)


@lru_cache
def _grammar(language: Language) -> Callable[[str], str]:
    # Half a second, which only text with numbers or signs pays for.
    from wetext import Normalizer  # noqa: PLC0415

    normalizer = Normalizer(lang=language, operator="tn")
    # Quotes come back with a backslash before them.
    return lambda text: re.sub(r"\\(.)", r"\1", str(normalizer.normalize(text)))


def _roman(number: str) -> int:
    """Return the value of a Roman number, whether or not it is well formed."""
    values = [_ROMAN[letter] for letter in number]
    following = [*values[1:], 0]
    return sum(v if v >= after else -v for v, after in zip(values, following, strict=True))
