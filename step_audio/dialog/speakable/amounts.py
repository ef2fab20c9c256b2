"""Amounts in English: money, letters behind figures, units of measure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from step_audio.dialog.speakable.cardinals import AMOUNT, cardinal, decimal, ordinal, plain_number


@dataclass(frozen=True, slots=True)
class _Currency:
    one: str
    many: str
    coin: str = "cent"
    coins: str = "cents"


_CURRENCIES: Final = {
    "$": _Currency("dollar", "dollars"),
    "€": _Currency("euro", "euros"),
    "£": _Currency("pound", "pounds", "penny", "pence"),
    "¥": _Currency("yen", "yen", "sen", "sen"),
    "₹": _Currency("rupee", "rupees", "paisa", "paise"),
    "₩": _Currency("won", "won", "jeon", "jeon"),
    "₽": _Currency("ruble", "rubles", "kopeck", "kopecks"),
    "₿": _Currency("bitcoin", "bitcoins"),
    "₺": _Currency("lira", "liras", "kurush", "kurush"),
    "₴": _Currency("hryvnia", "hryvnias", "kopeck", "kopecks"),
    "₫": _Currency("dong", "dong"),
    "₪": _Currency("shekel", "shekels", "agora", "agorot"),
    "฿": _Currency("baht", "baht", "satang", "satang"),
    "₱": _Currency("peso", "pesos", "centavo", "centavos"),
    "₦": _Currency("naira", "naira", "kobo", "kobo"),
}
_LANDS: Final = {
    **{"US": "U S ", "A": "Australian ", "AU": "Australian ", "C": "Canadian ", "CA": "Canadian "},
    **{"NZ": "New Zealand ", "HK": "Hong Kong ", "S": "Singapore ", "SG": "Singapore "},
    **{"NT": "New Taiwan ", "MX": "Mexican ", "R": "Brazilian ", "CN": "", "JP": ""},
}
_CODES: Final = {
    "USD": ("U S ", "$"),
    **{"EUR": ("", "€"), "GBP": ("British ", "£"), "JPY": ("", "¥"), "INR": ("Indian ", "₹")},
    **{"AUD": ("Australian ", "$"), "CAD": ("Canadian ", "$"), "NZD": ("New Zealand ", "$")},
    **{"HKD": ("Hong Kong ", "$"), "SGD": ("Singapore ", "$"), "RUB": ("", "₽"), "KRW": ("", "₩")},
    **{"BTC": ("", "₿"), "THB": ("", "฿"), "PHP": ("", "₱"), "MXN": ("Mexican ", "₱")},
    **{"SEK": ("Swedish ", "kr"), "NOK": ("Norwegian ", "kr"), "DKK": ("Danish ", "kr")},
    **{"BRL": ("", "R$"), "PLN": ("", "zł"), "ZAR": ("", "ZAR"), "TWD": ("New Taiwan ", "$")},
    "CHF": ("Swiss ", "CHF"),
    "CNY": ("", "CNY"),
    "RMB": ("", "CNY"),
}
_WITHOUT_SIGN: Final = {
    "CHF": _Currency("franc", "francs", "centime", "centimes"),
    "CNY": _Currency("yuan", "yuan", "fen", "fen"),
    "kr": _Currency("krona", "kronor", "öre", "öre"),
    "R$": _Currency("real", "reais", "centavo", "centavos"),
    "zł": _Currency("zloty", "zlotys", "grosz", "groszy"),
    "ZAR": _Currency("rand", "rand"),
}
"""Currencies that no sign of their own stands for."""
_OF_DOLLARS: Final = {"R": ("", "R$"), "MX": ("Mexican ", "₱")}
"""Lands that write a dollar sign before another currency."""
_SCALES: Final = {
    **{"k": "thousand", "th": "thousand", "thousand": "thousand", "hundred": "hundred"},
    **{"m": "million", "mn": "million", "mm": "million", "mio": "million", "mil": "million"},
    **{"million": "million", "millions": "million"},
    **{"b": "billion", "bn": "billion", "billion": "billion", "billions": "billion"},
    **{"t": "trillion", "tn": "trillion", "trn": "trillion", "trillion": "trillion"},
}
_SCALE: Final = (
    r"(?:[\s-]?(?P<scale>thousand|hundred|(?:m|b|tr)illions?|mn|mm|mio|mil|bn|tr?n|[kKmMbBtT]))?"
    r"(?![\w’'])"
)
_SIGNS: Final = "".join(_CURRENCIES)
_TO: Final = r"\s?[-\u2013\u2014]\s?"

_NO_CENTS: Final = re.compile(r"(?<=\d)[,.][-\u2013\u2014]+(?!\w)")
_RANGE: Final = re.compile(
    rf"(?<!\w)(?P<land>[A-Z]{{1,2}})?(?P<sign>[{_SIGNS}])\s?(?P<low>{AMOUNT})(?P<first>[kKmMbB]|bn)?{_TO}"
    rf"(?:[A-Z]{{1,2}})?(?:[{_SIGNS}])?\s?(?P<amount>{AMOUNT}){_SCALE}"
)
_BEFORE: Final = re.compile(
    rf"(?<![\w.])(?P<minus>[-\u2212\u2013](?=[A-Z{_SIGNS}]))?(?P<land>[A-Z]{{1,2}})?(?P<sign>[{_SIGNS}])"
    rf"\s?(?P<less>[-\u2212](?=[\d.]))?(?P<amount>{AMOUNT}){_SCALE}"
)
_BEHIND: Final = re.compile(
    rf"(?<![\w.,])(?P<minus>[-\u2212])?(?P<amount>{AMOUNT})(?:\s?(?P<scale>thousand|(?:m|b|tr)illion|bn|mn|[kKmMbB]))?"
    rf"\s?(?:(?P<sign>[{_SIGNS.replace('$', '')}]|\$(?!\s?\d))|(?P<code>{'|'.join(_CODES)})\b)"
)
_CODE_FIRST: Final = re.compile(
    rf"\b(?P<code>{'|'.join(_CODES)})\s?(?P<minus>[-\u2212])?(?P<amount>{AMOUNT}){_SCALE}"
)
_BY: Final = {
    **{
        "mo": "month",
        "yr": "year",
        "y": "year",
        "hr": "hour",
        "h": "hour",
        "wk": "week",
        "d": "day",
    },
    **{"kg": "kilogram", "lb": "pound", "min": "minute", "sec": "second", "s": "second"},
    **{"l": "liter", "L": "liter", "gal": "gallon", "GB": "gigabyte", "MB": "megabyte"},
    **{
        "sqft": "square foot",
        "m": "meter",
        "km": "kilometer",
        "oz": "ounce",
        "kWh": "kilowatt hour",
    },
}
_PER: Final = re.compile(
    r"(?<=[A-Za-z0-9])\s?/\s?(mo|month|yr|year|y|hr|hour|h|wk|week|d|day|night|person|unit|user|seat|kg|lb"
    r"|min|minute|sec|second|s|l|L|gal|GB|MB|sqft|piece|item|head|m|km|oz|kWh|token|page|use|call)\b(?!/)"
)
_MONEY_WORD: Final = re.compile(
    r"(?:" + "|".join({c.many for c in _CURRENCIES.values()} | {"cents"}) + r")\b"
)


def read_money(text: str) -> str:
    """Return a text with its sums of money in words."""
    if re.search(rf"[{_SIGNS}¢]", text):
        text = _NO_CENTS.sub("", text)
        text = _RANGE.sub(_range, text)
        text = _BEFORE.sub(_sum, text)
        text = _BEHIND.sub(_sum, text)
        text = re.sub(r"(?<![\w.,])(\d+)\s?¢", lambda m: _counted(int(m[1]), "cent", "cents"), text)
    if re.search("|".join(_CODES), text):
        text = _CODE_FIRST.sub(_sum, text)
        text = _BEHIND.sub(_sum, text)
    text = re.sub(r"(?<![\w.,:])(\d{1,3})p(?=[\s,.;:!?)]|$)", _pence, text)
    return _PER.sub(_per, text)


def _pence(found: re.Match[str]) -> str:
    return _counted(int(found[1]), "penny", "pence")


def _per(found: re.Match[str]) -> str:
    before = found.string[max(0, found.start() - 12) : found.start()]
    paid = bool(_MONEY_WORD.search(before))
    counted = found[1] in {"month", "year", "day", "week", "hour", "night", "person", "user"}
    if not (paid or counted):
        return found[0]
    return f" per {_BY.get(found[1], found[1])}"


def _currency(found: re.Match[str]) -> tuple[str, _Currency] | None:
    names = found.groupdict()
    if code := names.get("code"):
        land, sign = _CODES[code]
        return land, _WITHOUT_SIGN.get(sign) or _CURRENCIES[sign]
    land = names.get("land") or ""
    if land and land not in _LANDS:
        return None
    if names["sign"] == "¥" and land == "CN":
        return "", _WITHOUT_SIGN["CNY"]
    if names["sign"] == "$" and land in _OF_DOLLARS:
        land, sign = _OF_DOLLARS[land]
        return land, _WITHOUT_SIGN.get(sign) or _CURRENCIES[sign]
    return _LANDS.get(land, ""), _CURRENCIES[names["sign"]]


def _sum(found: re.Match[str]) -> str:
    currency = _currency(found)
    names = found.groupdict()
    if currency is None:
        return found[0]
    minus = "minus " if names.get("minus") or names.get("less") else ""
    number = plain_number(names["amount"], thousands_point=names.get("sign") == "€")
    land, of = currency
    if is_adjective(found):
        of = _Currency(of.one, of.one, of.coin, of.coin)
    said = _money(number, names.get("scale"), land, of)
    return f"{minus}{said}"


def _range(found: re.Match[str]) -> str:
    currency = _currency(found)
    if currency is None:
        return found[0]
    low = decimal(plain_number(found["low"]))
    if found["first"]:
        low += f" {_SCALES[found['first'].lower()]}"
    high = _money(plain_number(found["amount"]), found["scale"], *currency)
    return f"{low} to {high}"


def _money(number: str, scale: str | None, land: str, of: _Currency) -> str:
    whole, _, part = number.partition(".")
    if scale:
        return f"{decimal(number)} {_SCALES[scale.lower()]} {land}{of.many}"
    if len(part) > 2:
        return f"{decimal(number)} {land}{of.many}"
    coins = int(part.ljust(2, "0")) if part else 0
    notes = int(whole or "0")
    said = [_counted(notes, f"{land}{of.one}", f"{land}{of.many}")] if notes or not coins else []
    if coins:
        said.append(_counted(coins, of.coin, of.coins))
    return " and ".join(said)


_ARTICLE: Final = re.compile(
    r"\b(?:an?|the|this|that|each|every|another|one|his|her|my|our|your)\s+$", re.I
)
_KIND: Final = re.compile(
    r"[\s-](?:race|sprint|dash|run|swim|walk|hike|freestyle|relay|hurdles|radius|bills?|notes?|coins?|"
    r"banknotes?)\b"
)
_NOUN: Final = re.compile(
    r"[\s-]+(?!(?:and|or|of|to|for|in|on|at|per|an?|the|is|was|are|were|more|less|each|off|from|by|with|"
    r"this|that|plus|than|but|if|as|so|when|which|who|after|before|ago|away|long|tall|wide|high|deep|"
    r"thick|old|apart|above|below|under|over|into|it|he|she|we|they|you|today|now|later|worth|only)\b)[a-z]{3,}"
)


def is_adjective(found: re.Match[str]) -> bool:
    """Whether an amount belongs to the noun behind it, as in "a $5 bill"."""
    before = found.string[max(0, found.start() - 10) : found.start()]
    behind = found.string[found.end() : found.end() + 40]
    return bool(_KIND.match(behind) or (_ARTICLE.search(before) and _NOUN.match(behind)))


def _counted(number: int, one: str, many: str) -> str:
    return f"{cardinal(number)} {one if number == 1 else many}"


_SPACED: Final = re.compile(
    r"(?<![\w.,:/'’-])\d{1,3}(?:[ '’]\d{3})+(?:\.\d+|,\d{1,2})?(?![\w'’]|[ '’]\d|-\d)"
)
_GROUPED: Final = re.compile(r"(?<![\w.,])\d{1,3}(?:,\d{3})+(\.\d+)?(?!\d|,\d|st\b|nd\b|rd\b|th\b)")
_GROUPED_PLACE: Final = re.compile(r"(?<![\w.,])(\d{1,3}(?:,\d{3})+)(?:st|nd|rd|th)\b")
_RANGE_OF_GROUPED: Final = re.compile(
    r"(?<![\w.,/-])(\d{1,3}(?:,\d{3})+(?:\.\d+)?)\s?[-\u2013]\s?(\d[\d,.]*(?<=\d))(?![\w-])"
)
_EUROPEAN: Final = re.compile(
    r"(?<![\w.,])(?:\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}|\d+,\d{1,2}(?!\d))(?![\w]|[.,]\d)"
)
PLACE: Final = re.compile(
    r"\b(?:seats?|rooms?|gates?|rows?|apt|apartment|apartments|units?|sections?|flats?|exhibits?|"
    r"fig|figures?|tables?|pages?|lines?|bus|highway|steps?|class|grade|groups?|buildings?|blocks?|"
    r"platforms?|sizes?|models?|types?|forms?|suite|number|no|paragraphs?|articles?|vitamin|ward|"
    r"exit|track|bay|floor|level|zone|box|question|item|chapter|part|clause|rule|house|at)\W{0,2}$",
    re.I,
)
_LETTERED: Final = re.compile(
    r"(?<![\w.,$€£-])(\d+(?:[.,]\d+)*)(\s?)(mn|bn|tn|[kKmMbBtT])\b(?![-'’/.]\w)"
)
_LETTERED_RANGE: Final = re.compile(
    r"(?<![\w.,$€£-])(\d+(?:\.\d+)?)(?:[kKMB]|bn|mn)?\s?[-\u2013]\s?"
    r"(\d+(?:\.\d+)?)\s?([kKMB]|bn|mn|tn)(?![\w'’-])"
)
_MANY: Final = re.compile(
    r"\s+(?:(?:active|new|monthly|daily|total|paying|more|other|registered|unique|weekly|annual|young|"
    r"old|poor|different|online|additional|people's)\s+)?"
    r"(?!(?:is|was|has|this|as|its|us|plus|across|less|gross|pass|press|sports|class|towards|always|"
    r"perhaps|besides|sometimes|hurdles|stairs|sprints|swims|results|times)\b)"
    r"(?:[a-z]+s|people|children|men|women|folks?|listening|of\s+(?:them|us|you|the))\b"
)


def read_grouped(text: str) -> str:
    """Return a text with numbers in groups, "10 000", "1,234.5" and "1.000,50", in words."""
    text = _GROUPED_PLACE.sub(lambda m: ordinal(int(m[1].replace(",", ""))), text)
    text = _RANGE_OF_GROUPED.sub(r"\1 to \2", text)
    text = _SPACED.sub(lambda m: decimal(plain_number(m[0])), text)
    text = _EUROPEAN.sub(lambda m: decimal(plain_number(m[0], thousands_point=True)), text)
    return _GROUPED.sub(lambda m: decimal(plain_number(m[0])), text)


def read_lettered(text: str) -> str:
    """Return a text in which the letter behind a figure is a factor, a meter or that letter."""
    return _LETTERED.sub(_lettered, _LETTERED_RANGE.sub(_lettered_range, text))


def _lettered_range(found: re.Match[str]) -> str:
    return f"{decimal(found[1])} to {decimal(found[2])} {_SCALES[found[3].lower()]}"


def _lettered(found: re.Match[str]) -> str:
    number, space, letter = found.groups()
    factor = _SCALES[letter.lower()]
    number = plain_number(number)
    many = _MANY.match(found.string, found.end())
    of_a_place = PLACE.search(found.string[max(0, found.start() - 14) : found.start()])
    if len(letter) == 1 and of_a_place:
        return f"{number} {letter.upper()}"
    if (
        len(letter) == 2
        or (many and (letter != "m" or not space or "." in number))
        or (letter in "MBkK" and "." in number)
        or (letter == "M" and len(number) < 4 and not space)
        or (letter in "kK" and len(number) == 3 and not space)
    ):
        return f"{decimal(number)} {factor}"
    if letter in "mtT" or (space and letter not in "MB"):
        return found[0]
    return f"{number} {letter.upper()}"
