"""Dates, times and telephone numbers in English -> words, where the grammar misreads them."""

from __future__ import annotations

import re
from typing import Final

from step_audio.dialog.speakable.cardinals import cardinal, digits, ordinal, year

MONTHS: Final = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_MONTH: Final = "|".join(MONTHS)
_SHORT: Final = {month[:3]: month for month in MONTHS} | {"Sept": "September"}
_DECADES: Final = re.findall(
    r"[\w:-]+", "_ teens twenties thirties forties fifties sixties seventies eighties nineties"
)

_ISO_TIME: Final = re.compile(
    r"(?<![\w-])(\d{4})-(\d\d)-(\d\d)(?:T|\s)(\d\d):(\d\d)(?::(\d\d)(?:[.,]\d+)?)?\s?(Z|UTC|[+-]\d\d:?\d\d)?(?!\w)"
)
_BASIC_TIME: Final = re.compile(r"(?<!\w)(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)?(?=Z|[+-]\d|\W|$)")
_ISO_DATE: Final = re.compile(r"(?<![\w./-])(\d{4})([-/.])(\d{1,2})\2(\d{1,2})(?![\w/-]|\.\d)")
_PARTS_DATE: Final = re.compile(
    r"(?<![\w./-])(\d{1,2})([-/.])(\d{1,2})\2(\d{4}|['’]?\d{2})(?![\w/-]|\.\d)"
)
_DAY_MONTH: Final = re.compile(
    r"\b((?:on|by|until|till|since|before|after|from|to|due|of|date|dated|for|between|and|(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?\.?,?)\s+)"
    r"(\d{1,2})/(\d{1,2})(?![\w/%]|\s+(?:of|cup|inch|teaspoon|tablespoon|mile|tsp|tbsp))",
    re.I,
)
_DAYS: Final = re.compile(
    r"(?<![\w/.])(0?[1-9]|1[0-2])/(\d{1,2})\s?[-\u2013]\s?(0?[1-9]|1[0-2])/(\d{1,2})(?![\w/.]\w|/)"
)
_MONTH_YEAR: Final = re.compile(r"(?<![\w/.-])(0?[1-9]|1[0-2])[/-]((?:19|20)\d\d)(?![\w/-]|\.\d)")
_YEAR_MONTH: Final = re.compile(r"(?<![\w/.-])((?:19|20)\d\d)-(0[1-9]|1[0-2])(?![\w/-]|\.\d)")
_MONTH_DAY: Final = re.compile(r"(?<![\w/.-])0([1-9])/([0-2]\d|3[01])(?![\w/%-]|\.\d)")
_ON: Final = re.compile(r"(?:on|by|until|till|since|due|dated?|mon|tue|wed|thu|fri|sat|sun)", re.I)
_EVENTS: Final = re.compile(r"(?<![\w/.])(?:9/11|24/7|50/50|7/11|20/20|7/7)(?![\w/])")
_FULL_SCORE: Final = re.compile(r"(?<![\w/.])(10|5|100)/\1(?![\w/.]\w|/|\s+of\b)")
_SCORES: Final = re.compile(
    r"(?<![\w/.])(\d{1,3})/(\d{1,3})(?=\s+(?:stars?|points?|marks?|correct|wins?)\b)"
)
_CENTURY: Final = re.compile(r"(?<![\w.])(1[0-9]|2[1-9])00['’]?s\b")
_DECADE: Final = re.compile(r"(?<![\w.])(1[0-9]|20)([1-9])0['’]?s\b")
_SHORT_DECADE: Final = re.compile(r"(?<!\w)['’]([1-9])0['’]?s\b")
_SHORT_YEAR: Final = re.compile(r"(?<!\w)['’](\d\d)(?=[\s,.;:!?)]|$)(?!\s*['’])")
_POSSESSIVE: Final = re.compile(r"(?<!\w)(\d{1,3}0)['’]s\b")
_YEARS: Final = re.compile(
    r"(?<![\d\w.,-])(1[0-9]|20)(\d\d)\s?[-\u2013\u2014/]\s?((?:1[0-9]|20)?\d\d)(?![\w-]|[.,]\d)"
)
_ERA: Final = re.compile(r"(?<![\w.,])(\d{1,4})\s?(BCE?|AD|CE)\b")

_CLOCK: Final = re.compile(
    r"(?<![\w:.])([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?(?:[.,]\d+)?(?:\s?([AaPp])\.?\s?([Mm])\b(\.(?!\s*$))?)?(?![\w:]|\.\d)"
)
_POINT_CLOCK: Final = re.compile(r"(?<![\w:.])([01]?\d)\.([0-5]\d)\s?([AaPp])\.?[Mm]\b")
_HOUR: Final = re.compile(r"(?<![\w:.,])(1[0-2]|0?\d)\s?([AaPp])\.?([Mm])\b(\.(?!\s*$))?")
_FRENCH_CLOCK: Final = re.compile(r"(?<![\w:.])([01]?\d|2[0-4])h([0-5]\d)(?!\w)")
_RANGE_DASH: Final = re.compile(
    r"(?<=\d|[mM])\s?[-\u2013\u2014]\s?(?=(?:[01]?\d|2[0-4]):[0-5]\d|(?:1[0-2]|\d)\s?[ap]\.?m\b)"
)
_OPEN_RANGE: Final = re.compile(r"(?<=\d[ap]m)\s?[-\u2013]\s?(?=(?:1[0-2]|\d)(?![\d/.-]))", re.I)
_RATIO: Final = re.compile(r"\b(?:ratio|score|scored|won|lost|beat|odds|proportions?)\b", re.I)


def read_dates(text: str) -> str:
    """Return a text with its dates, years and decades in words."""
    text = _BASIC_TIME.sub(lambda m: f"{m[1]}-{m[2]}-{m[3]}T{m[4]}:{m[5]}:{m[6] or '00'}", text)
    text = _ISO_TIME.sub(_iso_time, text)
    text = _ISO_DATE.sub(lambda m: _date(m, int(m[1]), int(m[3]), int(m[4])), text)
    text = _PARTS_DATE.sub(_parts_date, text)
    text = _MONTH_YEAR.sub(lambda m: f"{MONTHS[int(m[1]) - 1]} {year(int(m[2]))}", text)
    text = _YEAR_MONTH.sub(_year_month, text)
    text = _EVENTS.sub(_event, text)
    text = _FULL_SCORE.sub(r"\1 out of \1", text)
    text = _SCORES.sub(lambda m: f"{m[1]} out of {m[2]}", text)
    text = _DAYS.sub(_days, text)
    text = _DAY_MONTH.sub(_day_month, text)
    text = _MONTH_DAY.sub(_month_day, text)
    text = _CENTURY.sub(lambda m: f"{cardinal(int(m[1]))} hundreds", text)
    text = _DECADE.sub(lambda m: f"{cardinal(int(m[1]))} {_decade(m[2])}", text)
    text = _SHORT_DECADE.sub(lambda m: _decade(m[1]), text)
    text = _POSSESSIVE.sub(r"\1s", text)
    text = _SHORT_YEAR.sub(_short_year, text)
    text = _YEARS.sub(_years, text)
    text = _ERA.sub(lambda m: f"{cardinal(int(m[1]))} {' '.join(m[2])}", text)
    return _words_dates(text)


def _short_year(found: re.Match[str]) -> str:
    return f"{'oh ' if found[1][0] == '0' else ''}{cardinal(int(found[1]))}"


def _decade(tens: str) -> str:
    return "tens" if tens == "1" else _DECADES[int(tens)]


def _words_dates(text: str) -> str:
    """Return a text with "Jan. 5, 2024" and "5 May 2024" in words."""
    text = re.sub(rf"\b({'|'.join(_SHORT)})\b\.?(?=\s+\d)", lambda m: _SHORT[m[1]], text)
    text = re.sub(
        rf"(?<![\w.,:/])(\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?"
        rf"({_MONTH}|(?:{'|'.join(_SHORT)})\b\.?)(?=,?\s+\d{{4}}\b|[\s,.;:!?)\u2013-]|$)",
        _day_first,
        text,
    )
    text = re.sub(
        rf"\b({_MONTH})\s+(\d{{1,2}})\s?[-\u2013]\s?(\d{{1,2}})(?!\w|[.:/-]\d)",
        lambda m: f"{m[1]} {ordinal(int(m[2]))} to {ordinal(int(m[3]))}",
        text,
    )
    text = re.sub(
        rf"\b({_MONTH})\s+(\d{{1,2}})(?:st|nd|rd|th)?(?=,|\s|[.;!?)]|$|\s?[-\u2013])"
        r"(?!\s*:|\.\d|\s?[-\u2013]\s?\d{3})",
        lambda m: f"{m[1]} {ordinal(int(m[2]))}" if 1 <= int(m[2]) <= 31 else m[0],
        text,
    )
    return re.sub(
        rf"((?:{_MONTH})(?:\s+[a-z]+(?:\s[a-z]+)?)?,?\s+)(\d{{4}})(?![\w.,/:-]\w|\s?%)",
        lambda m: f"{m[1]}{year(int(m[2]))}",
        text,
    )


def _day_first(found: re.Match[str]) -> str:
    day = int(found[1])
    if not 1 <= day <= 31 or (
        found[2] == "May"
        and re.match(r"\s+(?:be|have|not|seem|\w+ly)\b", found.string[found.end() :])
    ):
        return found[0]
    month = found[2].rstrip(".")
    before = found.string[: found.start()].rstrip().lower()
    the = "" if before.endswith(" the") or before == "the" else "the "
    return f"{the}{ordinal(day)} of {_SHORT.get(month, month)}"


def _date(found: re.Match[str], of_year: int, month: int, day: int) -> str:
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return found[0]
    return f"{MONTHS[month - 1]} {ordinal(day)}, {year(of_year)}"


def _parts_date(found: re.Match[str]) -> str:
    """Read 1/5/24 as in America; with points, or a month above 12, the day comes first."""
    first, second, last = int(found[1]), int(found[3]), int(found[4].strip("'’"))
    of_year = last if len(found[4]) == 4 else last + (1900 if last >= 70 else 2000)
    if found[2] == "." and len(found[4]) == 2 and not found[4].isdigit():
        return found[0]
    day_first = first > 12 or found[2] == "."
    month, day = (second, first) if day_first else (first, second)
    if found[2] == "-" and len(found[4]) == 2:
        return found[0]
    return _date(found, of_year, month, day)


def _iso_time(found: re.Match[str]) -> str:
    date = _date(found, int(found[1]), int(found[2]), int(found[3]))
    if date == found[0]:
        return date
    clock = _said_time(int(found[4]), int(found[5]), int(found[6] or 0))
    zone = found[7]
    if zone in {"Z", "UTC"}:
        return f"{date}, at {clock} U T C"
    if zone:
        sign = "plus" if zone[0] == "+" else "minus"
        hours, minutes = int(zone[1:3]), int(zone[-2:])
        behind = f" {cardinal(minutes)}" if minutes else ""
        return f"{date}, at {clock} U T C {sign} {cardinal(hours)}{behind}"
    return f"{date}, at {clock}"


def _event(found: re.Match[str]) -> str:
    first, second = found[0].split("/")
    return f"{cardinal(int(first))} {cardinal(int(second))}"


def _day_month(found: re.Match[str]) -> str:
    month, day = int(found[2]), int(found[3])
    if month > 12 >= day:
        month, day = day, month
    if not (1 <= month <= 12 and 1 <= day <= 31) or (
        month < day and day in {2, 3, 4, 5, 8, 10} and not _ON.match(found[1])
    ):
        return found[0]
    return f"{found[1]}{MONTHS[month - 1]} {ordinal(day)}"


def _year_month(found: re.Match[str]) -> str:
    """Read 2024-05 as a month; 2008-09 are two years, one after the other."""
    if int(found[2]) > int(found[1]) % 100:
        return found[0]
    return f"{MONTHS[int(found[2]) - 1]} {year(int(found[1]))}"


def _month_day(found: re.Match[str]) -> str:
    day = int(found[2])
    return f"{MONTHS[int(found[1]) - 1]} {ordinal(day)}" if day else found[0]


def _days(found: re.Match[str]) -> str:
    first, last = (int(found[1]), int(found[2])), (int(found[3]), int(found[4]))
    if first > last or not (1 <= first[1] <= 31 and 1 <= last[1] <= 31):
        return found[0]
    return " to ".join(f"{MONTHS[month - 1]} {ordinal(day)}" for month, day in (first, last))


def _years(found: re.Match[str]) -> str:
    first, last = int(found[1] + found[2]), found[3]
    if len(last) == 2:
        if int(last) <= first % 100:
            return found[0]
        return f"{year(first)} to {cardinal(int(last))}"
    return f"{year(first)} to {year(int(last))}"


def read_times(text: str) -> str:
    """Return a text with its times of day in words."""
    if not re.search(r"\d(?::\d|h\d|\s?[AaPp]\.?[Mm])", text):
        return text
    text = _OPEN_RANGE.sub(" to ", _RANGE_DASH.sub(" to ", text))
    text = _POINT_CLOCK.sub(r"\1:\2 \3m", text)
    text = _CLOCK.sub(_clock, text)
    text = _FRENCH_CLOCK.sub(lambda m: _said_time(int(m[1]), int(m[2]), 0), text)
    return _HOUR.sub(lambda m: f"{cardinal(int(m[1]))} {m[2].lower()} m", text)


def _clock(found: re.Match[str]) -> str:
    hour, minute, second = int(found[1]), int(found[2]), found[3]
    half = f" {found[4].lower()} m" if found[4] else ""
    if not half and second is None and _RATIO.search(found.string):
        return f"{cardinal(hour)} to {cardinal(minute)}"
    if hour == 24 and minute:
        return found[0]
    if half and minute == 0 and second is None:
        return f"{cardinal(hour)}{half}"
    return f"{_said_time(hour, minute, int(second or 0))}{half}"


def _said_time(hour: int, minute: int, second: int) -> str:
    if minute == 0:
        said = (
            f"{cardinal(hour)} o'clock"
            if 1 <= hour <= 12
            else f"{cardinal(hour)} hundred"
            if hour
            else "midnight"
        )
        said = said if not second else f"{cardinal(hour)} hours"
    else:
        said = f"{cardinal(hour)} {'oh ' if minute < 10 else ''}{cardinal(minute)}"
    if second:
        said += f" and {cardinal(second)} second{'s' if second > 1 else ''}"
    return said


_WORDS: Final = (
    r"call(?:ed|ing)?|dial(?:ed|ling|ing)?|phone|telephone|tel|fax|mobile|cell|ring|text(?:ed)?|sms|whatsapp|"
    r"hotline|helpline|landline|contact(?: us)?|reach (?:us|me|him|her|them)|number is|emergency"
)
_ASKED: Final = re.compile(
    rf"\b(?:{_WORDS})(?:[\s:.,-]{{1,3}}|\s+(?:us|me|him|her|them|at|on|is|number|no|now|to)\b\.?:?\s*){{1,3}}"
    r"(?P<number>\+?\(?\d(?:[\s().-]{0,2}\d){2,14})"
    r"(?![\w/:%]|[.,]\d|\s?(?:people|times|minutes|hours|days|a\.?m|p\.?m))",
    re.I,
)
_ABROAD: Final = re.compile(r"(?<![\w.+])\+\s?\d{1,3}(?:[\s.-]?\(?\d{1,5}\)?){1,6}(?![\w]|[.,]\d)")
_TRUNK: Final = re.compile(
    r"(?<![\w.,:/-])(?:\(0\d{1,5}\)|0\d{1,5})[\s-]\d{3,4}(?:[\s-]?\d{2,4}){1,2}(?![\w-]|[.,:/]\d)"
    r"|(?<![\w.,:/-])00\d{1,3}(?:[\s-]\d{1,8}){2,4}(?![\w-]|[.,:/]\d)"
    r"|(?<![\w.,:/-])0\d{9,10}(?![\w-]|[.,:/]\d)|(?<![\w.,:/-])0\d{2,5}/\d{4,8}(?![\w/-])"
    r"|(?<=zip )\d{5}\b|(?<=ZIP )\d{5}(?:-\d{4})?\b|(?<=code )\d{4,8}\b|(?<=PIN )\d{4,8}\b"
    r"|(?<= [A-Z]{2} )\d{5}(?:-\d{4})?(?![\w-])|(?<=code is )\d{4,8}\b|(?<=PIN is )\d{4,8}\b"
)
_AMERICAN: Final = re.compile(
    r"(?<![\w.+-])(?:1[-. ])?(?:\(\d{3}\)\s?|\d{3}[-.\s])\d{3}[-.\s]\d{4}"
    r"(?:\s?(?:x|ext\.?)\s?\d{1,5})?(?![\w-]|\.\d)"
    r"|(?<![\d-])\d{3}-\d{4}(?![\d-])"
)
_FREE: Final = re.compile(
    r"(?<![\w.,-])(?:1[389]00[\s-]\d{3}[\s-]\d{3}|13[\s-]\d\d[\s-]\d\d)(?![\w-])"
    r"|(?<![\w.-])1?-?8(?:00|88|77|66|55|44|33)-[A-Z0-9]{3,7}(?:-[A-Z0-9]{2,7})*(?![\w-])"
)
_CARD: Final = re.compile(
    r"(?<![\w.,-])\d{4}(?:[ -]\d{4}){2,4}(?![\w-]|[.,]\d)|(?<![\w.,-])\d{3}-\d\d-\d{4}(?![\w-])"
)
_CODE: Final = re.compile(r"(?<![\w.,/-])\d+(?:-\d+){3,}(?![\w/-]|[.,]\d)")
_LONG: Final = re.compile(r"(?<![\w.,])(?:\d{13,}|0\d{5,})(?![\w]|[.,]\d)")


def read_telephones(text: str) -> str:
    """Return a text with numbers that are no amounts, of telephones and cards, digit by digit."""
    text = re.sub(r"(?<![\w.,$-])911(?![\w%]|[.,-]\d)", "nine one one", text)
    text = _FREE.sub(_free, text)
    text = _ASKED.sub(lambda m: m[0][: m.start("number") - m.start()] + _dialled(m["number"]), text)
    text = _ABROAD.sub(_abroad, text)
    for pattern in (_CARD, _AMERICAN, _TRUNK, _CODE, _LONG):
        text = pattern.sub(lambda m: _dialled(m[0]), text)
    return text


def _abroad(found: re.Match[str]) -> str:
    return _dialled(found[0]) if sum(c.isdigit() for c in found[0]) >= 7 else found[0]


def _free(found: re.Match[str]) -> str:
    parts = re.findall(r"[A-Z]{2,}|[A-Z]?\d+|[A-Z]", found[0])
    return ", ".join(part if part.isalpha() else _dialled(part) for part in parts)


def _dialled(number: str) -> str:
    number, _, behind = re.sub(r"\s?(?:x|ext\.?)\s?(?=\d+$)", "x", number).partition("x")
    groups = ", ".join(digits(part) for part in re.findall(r"\d+", number))
    plus = "plus " if number.lstrip().startswith("+") else ""
    return plus + groups + (f", extension {digits(behind)}" if behind else "")
