"""Signs between and around words -> the words for them, or nothing where nobody says them."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_CJK: Final = re.compile(r"[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]")
_LATIN: Final = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′ʼ`ʻ", "'"),
        **dict.fromkeys("“”„‟″«»〝〞", '"'),
        **dict.fromkeys("‹›", "'"),
        **dict.fromkeys("−‐‑‒﹣－", "-"),
        **{"…": "...", "¿": "", "¡": "", "·": " "},
    }
)
"""Chinese print keeps its own quotes, dashes and dots; elsewhere these are plain."""
_DASH: Final = re.compile(r"(?<=\d)\s?[–—]\s?(?=[\d$€£])")
_BREAK: Final = re.compile(r"\s*(?:[—―]|\s–\s|\s--+\s|(?<=\w)--+(?=\w))\s*")

_SHRUG: Final = re.compile(r"¯?\\?_?\(ツ\)_?/?¯?|\(╯°□°[)）]╯︵ ┻━┻|\([-^><*'][_.-][-^><*'];?\)")
_FACE: Final = re.compile(
    r"(?<![\w)])(?:[:;]['^o-]?[)(\]\[DPpOo3/\\|*$]{1,5}|=['^-]?[)(\]DPp]{1,5}|[:;]-?[xX]|\^_*\^|[>]?[:;]'?-?\(+|8-?\))(?![\w/])|</3(?!\d)"
)
_HEART: Final = re.compile(r"(?:^|(?<=\s))(?:<3+)+(?=\s|$|[.!?,])")
_CHINESE_HEART: Final = re.compile(r"(?<=[我你他她们咱])<3+(?=[\u3400-\u9fff])")
_VARIABLE: Final = re.compile(r"(?:\b(?!I\b|[yu]\b)[A-Za-z]|\d)\s*$")
_SHORTCODE: Final = re.compile(r"(?<![\w:]):([a-z][a-z0-9_+-]{1,40}):(?![\w:])")
_SPEAKER: Final = re.compile(r"(^|[\])]\s*)<\s*[@+%~&]?([\w][\w .-]{0,30})>\s+(?=\S)")
_MENTION: Final = re.compile(r"<(?:@[&!]|[@#!])(\w{1,32})>")

_RATED: Final = re.compile(r"(\d)\s?[★⭐]")
_STARS: Final = re.compile(r"★{2,}[☆✩]*|★[☆✩]+")
_SIZE: Final = re.compile(r"(?<=\d)(?<!\b0)[x×](?=\d)(?!10\^)")

_GREEK: Final[dict[str, str]] = dict(
    zip(
        "αβγδεζηθικλμνξοπρςστυφχψω",
        re.findall(
            r"[\w:-]+",
            "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi "
            "rho sigma sigma tau upsilon phi chi psi omega",
        ),
        strict=True,
    )
)
_LONE_GREEK: Final = re.compile(
    r"(?<![\u0370-\u03ff])[αβγδεζηθικλμνξοπρςστυφχψωΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩ](?![\u0370-\u03ff])"
)

_TYPE: Final = r"[&*]*[^\W\d]\w*(?:(?:::|\.)\w+)*(?:\[\])?[*&?]*"
_GENERIC: Final = re.compile(
    rf"(?:(?<=\w\w)|(?<=[A-Z]))<({_TYPE}(?:\s*,\s*(?:{_TYPE}|\d+))*)>(?![A-Za-z0-9_])"
)
_OUTER_GENERIC: Final = re.compile(r"(?<=\w)<([\w: ,&*]+)>")
_POWER: Final = re.compile(r"\^\(?([-+]?)(\d+|[A-Za-z])\)?")
_ENGLISH: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), said)
    for pattern, said in (
        (r"\bC\+\+", "C plus plus"),
        (r"\b([CFJ])#(?!\w)", r"\1 sharp"),
        (r"\bA\+(?=\W|$)", "A plus"),
        (r"(?<=\w)\s*\+=\s*(?=\w)", " plus equals "),
        (r"(?<=\w)\s*-=\s*(?=\w)", " minus equals "),
        (r"\bkm/h\b", "kilometers per hour"),
        (r"\bm/s\b", "meters per second"),
        (r"\bw/o\b", "without"),
        (r"(?<![\w/])w/(?=\s|[a-z])", "with "),
        (r"\bc/o\b", "care of"),
        (r"\b([nN])/([aA])\b", r"\1 \2"),
        (r"(?<=\d)\s*(?:<-+>|<=>|[↔⇔])\s*(?=\d)", " to and from "),
        (r"\s*(?:<[-=]+>|[↔⇔])\s*", " and "),
        (r"(?<=[\w)\"'])\s*(?:[-=]{1,3}>|[→⇒➔➜➞⟶➡])\s*(?=[\w(\"'])", " to "),
        (r"\s*(?:[-=]{1,3}>|<-{1,3}(?=\s)|<={2,})\s*", " "),
        (r"(?:<=|[≤⩽])\s*", " less than or equal to "),
        (r"(?:>=|[≥⩾])\s*", " greater than or equal to "),
        (r"(?<=[\w)\]\s])\s*(?:!==?|≠)\s*(?=[\w(\"'-])", " is not equal to "),
        (r"(?<=[\w)\]\"'])\s*={1,3}\s*(?=[\w(\"'$.\[{-])", " equals "),
        (r"(?<=\d%)\s?-\s?(?=\d)", " to "),
        (r"(?<=\w)\s*<\s*(?=[\w.$-])", " less than "),
        (r"(?<=\s)<\s?(?=\d)", "less than "),
        (r"^<\s?(?=\d)", "less than "),
        (r"(?<=[A-Za-z0-9])\s*>\s*(?=\d|[a-z]\b)", " greater than "),
        (r"(?<=\w)\s+>\s+(?=\w)", " greater than "),
        (r"(?:(?<=\s)|^)>\s?(?=\.?\d)", "more than "),
        (r"\s*&&\s*", " and "),
        (r"(?<=\w)::(?=\w)", " "),
        (r"(?<!\S)<(/?[\w./+: -]{1,60})>", r"\1"),
        (r"(?<=\w)\+\+(?!\w)", " plus plus"),
        (r"(?<=\w)@(?=\w)", " at "),
        (r"(?<=\w)\s*\|\|\s*(?=\w)", " or "),
        (r"\s*&\s*", " and "),
        (r"\s*±\s*|\+/-\s*", " plus or minus "),
        (r"(?<![\w)])[~∼≈]\s?(?=[$€£]?\d)", "about "),
        (
            r"(?<![\w)])[~∼≈]\s?(?=(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)\b)",
            "about ",
        ),
        (r"\s*≈\s*", " is about "),
        (r"(?<=\d)(?<!\b0)\s?(?:[×✕✖*]|x(?=\s?\d))\s?(?=[\d(])", " times "),
        (r"(?<=[\w)])\s*[×✕]\s*(?=[\w(])", " times "),
        (r"\b([A-Za-z]|\d+)\s+\*\s+(?=[A-Za-z]\b|\d|\()", r"\1 times "),
        (r"\b([A-Za-z\d])\*([A-Za-z\d])\b", r"\1 times \2"),
        (r"(?<=\d)\s?[×x](?=\s|$)", " times"),
        (r"\s*÷\s*", " divided by "),
        (r"(?<=\d|\))\s+/\s+(?=[\d(])", " divided by "),
        (r"(?<=[\w)])\s+\+\s+(?=[\w(-])", " plus "),
        (r"(?<=\d)\+(?=\d)", " plus "),
        (r"(?<=\w)\+(?=\s|$|[,.;:!?)])", " plus"),
        (r"(?<=[A-Za-z])\s*\+\s*(?=[A-Za-z0-9])", " plus "),
        (r"(?<![\w.])\+\s?(?=[\d.])", "plus "),
        (r"√\s?", " square root of "),
        (r"∞", " infinity "),
        (r"[∑Σ](?=\s|$)", " sum of "),
        (r"∫", " integral of "),
        (r"∆", " delta "),
        (r"∈", " in "),
        (r"∴", " therefore "),
        (r"[¬]", " not "),
        (r"§§?\s?", " section "),
        (r"¶\s?", " paragraph "),
        (r"©\s?", " copyright "),
        (r"%\s?", " percent "),
        (r"‰", " per thousand "),
        (r"°\s?N\b", " degrees north"),
        (r"°\s?S\b", " degrees south"),
        (r"°\s?E\b", " degrees east"),
        (r"°\s?W\b", " degrees west"),
        (r"°", " degrees "),
        (r"(?<=(?:eters|nches))\s?[x×]\s?(?=\d)", " by "),
        (r"(?<=feet)\s?[x×]\s?(?=\d)", " by "),
        (r"(?<=[a-z])-(an?)-(?=day|week|month|year|person|head|piece|pop)", r" \1 "),
        (r"(?<=[a-z])-(?=the [a-z]+(?:st|nd|rd|th) of )", " to "),
        (r"(?<![\w&])#\s?(?=\d)", "number "),
        (r"(?<=\s)@(?=\s)", "at"),
        (r"(?<![\w.])-(?=\.?\d)", "minus "),
        (r"\b([Aa]nd)/or\b", r"\1 or"),
        (r"(?<=[A-Za-z][a-z])/(?=[a-z]{2})(?<!\bkm/)(?<!\bkg/)(?<!\bmg/)", " or "),
        (r"(?<![\w/])([A-Za-z])/(?=[A-Za-z]{2})", r"\1 slash "),
        (r"(?<=[A-Za-z])/(?=[A-Za-z])", " "),
        (r"(?<=[a-z])\((s|es)\)", r"\1"),
        (r"(?<=\w)\(([^()]*)\)", r" \1 "),
        (r"(?<=\w)\(([^()]*)\)", r" \1 "),
        (r"\babout\s+about\b", "about"),
        (r"(?<=\w)[\[({](?=[\w\"'])", " "),
    )
)
_MINUS: Final = re.compile(r"(?<=[\w)])\s+-\s+(?=[\w(])")
_CHINESE: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), said)
    for pattern, said in (
        (r"\bC\+\+", "C加加"),
        (r"\s*(?:≤|<=)\s*", "小于等于"),
        (r"\s*(?:≥|>=)\s*", "大于等于"),
        (r"\s*(?:≠|!=)\s*", "不等于"),
        (r"\s*≈\s*", "约等于"),
        (r"\s*±\s*", "正负"),
        (r"(?<=[\w)）])\s*<\s*(?=[\w(（])", "小于"),
        (r"(?<=[\w)）])\s*>\s*(?=[\w(（])", "大于"),
        (r"(?<![\w<])<\s*(?=\d)", "小于"),
        (r"(?<![\w>])>\s*(?=\d)", "大于"),
        (r"(?<=\d)\s*[×*]\s*(?=\d)", "乘以"),
        (r"(?<=\d)[xX](?=\d)", "乘"),
        (r"\s*÷\s*", "除以"),
        (r"\s*(?:->|=>|[→⇒])\s*", "到"),
        (r"\s*&\s*", "和"),
        (r"√\s?", "根号"),
        (r"∞", "无穷大"),
        (r"§\s?", "第"),
        (r"©\s?", "版权"),
        (r"(?<=[^\W\d_])\s*=\s*(?=\w)", "等于"),
        (r"(?<=[\w)])\s*\+\s*(?=[A-Za-z\u3400-\u9fff])", "加"),
        (r"(?<=[\d万千百亿])\+(?=\s|$|[，。、])", "加"),
    )
)
_CJK_GAP: Final = re.compile(r"(?<=[\u3400-\u9fff])(?:\s*/\s*)(?=[\u3400-\u9fff])")

_SQUARE: Final = re.compile(r"\s*[\[{]\s*")
_SQUARE_END: Final = re.compile(r"\s*[\]}]\s*(?=([\w\"'(]?))")
_COMMAS: Final = re.compile(r"\s*,(?:\s*,)+\s*|\s+,\s*")
_MARK_COMMA: Final = re.compile(r"(?<=[:;(])\s*,\s*")
_COMMA_MARK: Final = re.compile(r",\s*(?=[.!?;:,]+(?:\s|$))")
_EMPTY_PAIR: Final = re.compile(r"\(\s*[.,;:]*\s*\)|\"\s*\"|（\s*）|【\s*】|《\s*》")
_LONG_MARKS: Final = re.compile(r"([!?,;:、，；：！？。])\1+|\.{4,}|([!?])[!?]+")
_SIGNS: Final = re.compile(r"[*^~<>#@=+]")
_INSIDE: Final = re.compile(r"(\()\s+|\s+(\))")
_BEFORE_STOP: Final = re.compile(r"(?<=[\w)\"'])\s+(?=[.,!?;:](?:\s|$))")
_LONE_SLASH: Final = re.compile(r"(?<!\w)/|/(?!\w)")
_LONE: Final = re.compile(r"(?:^|(?<=\s))[-/*+=<>|~'\".:;,!?]+(?=\s)(?!\s*\d)")
_CJK_COMMA: Final = re.compile(r"(?<=[\u3400-\u9fff])\s*,\s*(?!\d)")
_BEFORE_MARK: Final = re.compile(r"\s+(?=[，。！？；：、])")
_MANY_SPACES: Final = re.compile(r"\s{2,}")


def plain_print(text: str) -> str:
    """Return a text with the quotes and dashes of a keyboard; Chinese print keeps its own."""
    if _CJK.search(text):
        return text.translate({0x2212: "-", 0x2011: "-"})
    return _BREAK.sub(", ", _DASH.sub("-", text.translate(_LATIN))).replace("–", "-")


def without_faces(text: str) -> str:
    """Return a text without faces made of marks; names of emoji and of speakers become words."""
    text = _SHRUG.sub(" ", text)
    text = _SPEAKER.sub(r"\1\2, ", _MENTION.sub(r" at \1 ", text))
    text = _CHINESE_HEART.sub("爱", text)
    text = _HEART.sub(lambda m: m[0] if _VARIABLE.search(text[: m.start()]) else "love", text)
    text = _FACE.sub(" ", text)
    return _SHORTCODE.sub(lambda m: f" {m[1].replace('_', ' ').replace('-', ' ')} ", text)


def named_letters(text: str) -> str:
    """Return a text in which a Greek letter that stands for a quantity has its name."""
    if _CJK.search(text):
        return text
    return _LONE_GREEK.sub(_named_letter, text)


def read_symbols(text: str) -> str:
    """Return an English text with its signs in words."""
    text = _RATED.sub(r"\1 stars", text)
    text = _STARS.sub(lambda m: f" {m[0].count('★')} stars ", text)
    if "=" not in text:
        text = _SIZE.sub(" by ", text)
    text = _POWER.sub(_power, text)
    text = _MINUS.sub(" minus " if re.search(r"[=+×*÷^]", text) else _between, text)
    text = _without_generics(text)
    for pattern, said in _ENGLISH:
        text = pattern.sub(said, text)
    return text


def _without_generics(text: str) -> str:
    """Return a text with types of types, "Map<K, List<V>>", as the words in them."""
    text, found = _GENERIC.subn(_type_of, text)
    while found:
        text, found = _OUTER_GENERIC.subn(r" \1 ", text)
    return text


def _type_of(found: re.Match[str]) -> str:
    inside = re.sub(r",(?=\S)", ", ", re.sub(r"[&*?]|\[\]", "", found[1]))
    return inside if _CJK.search(found[0]) else f" {inside} "


def read_chinese_symbols(text: str) -> str:
    """Return a Chinese text with its signs in words."""
    text = _without_generics(text)
    for pattern, said in _CHINESE:
        text = pattern.sub(said, text)
    return _CJK_GAP.sub("、", text)


def without_signs(text: str, *, numbers: bool = True) -> str:
    """Return a text of letters, figures and the marks of sentences alone.

    Args:
        numbers: whether the signs of numbers went into words; else they stay.
    """
    chinese = bool(_CJK.search(text))
    text = "".join(c if _is_read(c, numbers) else " " for c in text)
    text = re.sub(r"(?<=\w)_+(?=\w)", " ", text).replace("_", " ").replace("\\", " ")
    text = text.replace("|", ", ").replace("`", " ")
    if numbers:
        text = _SIGNS.sub(" ", text)
    if chinese:
        text = _CJK_COMMA.sub("，", _BEFORE_MARK.sub("", text))
    else:
        text = _SQUARE.sub(", ", text)
        text = _SQUARE_END.sub(lambda m: ", " if m[1] else " ", text)
        text = re.sub(r"\s*[•‣†‡¦№]\s*", " ", text)
    text = _EMPTY_PAIR.sub(" ", text)
    text = _BEFORE_STOP.sub("", _INSIDE.sub(r"\1\2", text))
    if numbers:
        text = _LONE.sub(" ", _LONE_SLASH.sub(" ", text))
    text = _COMMAS.sub(", ", _MANY_SPACES.sub(" ", text))
    text = _LONG_MARKS.sub(lambda m: m[1] or m[2] or "...", text)
    text = _MARK_COMMA.sub(" ", text)
    text = _COMMA_MARK.sub("", re.sub(r"\s+(?=[.!?;:](?:\s|$))", "", text))
    return (
        _MANY_SPACES.sub(" ", text)
        .strip()
        .strip(",")
        .lstrip(".;:!?)]}，。；：！？、”’」』）…")
        .strip()
    )


def _named_letter(found: re.Match[str]) -> str:
    before = found.string[found.start() - 1 : found.start()]
    behind = found.string[found.end() : found.end() + 1]
    return (
        (" " if before.isalnum() else "")
        + _GREEK[found[0].lower()]
        + (" " if behind.isalnum() else "")
    )


def _between(found: re.Match[str]) -> str:
    numbers = found.string[found.start() - 1].isdigit() and found.string[found.end()].isdigit()
    return " to " if numbers else ", "


def _power(found: re.Match[str]) -> str:
    sign, power = found.groups()
    if not sign and power in "23":
        return " squared" if power == "2" else " cubed"
    return f" to the power of {'minus ' if sign == '-' else ''}{power}"


def _is_read(char: str, numbers: bool) -> bool:
    if char.isascii():
        return char.isprintable() and (char != "$" or not numbers)
    category = unicodedata.category(char)
    if category in {"Sm", "Sc"} or char == "°":
        return not numbers
    return category[0] in "LMNPZ"
