"""Addresses of the web, of mail, of machines and of files -> as people say them.

"https://www.example.com/a-b?c=1" is "example dot com slash a dash b question mark c equals 1".
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from step_audio.core.types import AddressReading

_ENDINGS: Final = (
    "com|org|net|edu|gov|mil|int|info|biz|name|io|ai|app|dev|co|me|tv|cc|xyz|site|online|shop|store|"
    "tech|blog|cloud|page|link|news|live|club|space|world|wiki|museum|uk|us|ca|au|nz|ie|de|fr|es|it|"
    "nl|be|ch|at|se|no|dk|fi|pl|cz|pt|gr|ru|ua|tr|cn|hk|tw|jp|kr|in|sg|my|id|th|vn|ph|br|mx|ar|cl|za|"
    "il|ae|eu|asia|example|test|local|localhost|onion"
)
_TAIL: Final = r"[!#$%&*+,./:;=?@~()\w\[\]-]*[#$%&*+/=@~\w-]"
_WEB: Final = re.compile(
    r"(?<![\w@])(?:(?:https?|ftps?|wss?|sftp|ssh|git|file)://|mailto:|www\.(?=\w))"
    rf"(?P<rest>[\w\[\]/~%-](?:{_TAIL})?)/?",
    re.I | re.A,
)
_MAIL: Final = re.compile(r"(?<![\w.+-])[\w.+-]*\w@\w[\w-]*(?:\.[\w-]*\w)+(?::[\w./-]*\w)?", re.A)
_HOST: Final = re.compile(
    rf"(?<![\w@./\\-])(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+(?:{_ENDINGS})(?![\w-]|\.\w)"
    rf"(?::\d{{1,5}}(?!\d))?(?:[/?#](?:{_TAIL})?)?/?",
    re.I | re.A,
)
_PLACE: Final = re.compile(
    rf"(?<![\w.@])(?:localhost|\d{{1,3}}(?:\.\d{{1,3}}){{3}})(?::\d{{1,5}})?(?:/(?:{_TAIL})?)?",
    re.A,
)
_NUMBERS: Final = re.compile(r"(?<![\w:])\d{1,3}(?=\.|$|[:/])")
_FILE: Final = re.compile(
    r"(?<![\w/\\.:~\u3400-\u9fff])(?:[A-Za-z]:\\|~?/(?=\.?\w)|\.{1,2}/)[\w.~-]*(?:[/\\]+[\w.~-]+)*[/\\]?(?=[^\w/\\]|$)"
    r"|(?<![\w/\\.])[\w-]+(?:/[\w.-]+){2,}/?(?![\w/])",
    re.A,
)
_DOTTED: Final = re.compile(r"(?<=[A-Za-z0-9_])\.(?=[A-Za-z_])", re.A)
_GLUED: Final = re.compile(
    r"(?<=[a-z]{2})([.!?])(?=[A-Z][a-z])|(?<=\d)([.])(?=[A-Z][a-z]*\s)|(?<=[a-z][\"')])([.])(?=[A-Z])"
    r"|(?<=[a-z]{2})([,;])(?=[A-Za-z]{2})"
)
_GLUED_SHORT: Final = re.compile(r"\b(e\.g\.|i\.e\.)(?=\w)", re.I)
_HIDDEN: Final = re.compile(r"(?<![^\s(\"'])\.(?=[a-z])")
_NAME: Final = re.compile(
    r"(?<![\w.])\.?\w*[A-Za-z_]\w*(?:[.-]\w+)*\.[A-Za-z_]\w*(?:\(\))?(?!\w|\.[A-Za-z])", re.A
)
_SHORT: Final = re.compile(r"(?:[A-Za-z]\.)+[A-Za-z]?|(?:Ph|Ed|Th|Sc|Eng)\.D|[ap]\.m", re.I)
_HANDLE: Final = re.compile(r"(?<![\w@])@(?=\w)", re.A)
_CODE: Final = re.compile(r"(?<![\w&#])#(?=[A-Z]{1,4}-?\d)")
_HASHTAG: Final = re.compile(r"(?<![\w&#])#(?=[A-Za-z_\u3400-\u9fff])([\w]+)")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

_SAID: Final = {
    "en": {
        **{".": "dot", "/": "slash", "\\": "backslash", "-": "dash", "_": "underscore"},
        **{":": "colon", "?": "question mark", "=": "equals", "&": "and", "#": "hash"},
        **{"@": "at", "~": "tilde", "+": "plus", "%": "percent", "*": "star"},
    },
    "zh": {
        **{".": "点", "/": "斜杠", "\\": "反斜杠", "-": "杠", "_": "下划线", ":": "冒号"},
        **{"?": "问号", "=": "等于", "&": "和", "#": "井号", "@": "艾特", "~": "波浪号"},
        **{"+": "加", "%": "百分号", "*": "星号"},
    },
}
_MARK: Final = re.compile(r"[./\\_:?=&#@~+%*-]")
_OTHERS: Final = re.compile(r"[!$,;()\[\]\"'<>|^{}]+")
_NUMBER_ONLY: Final = re.compile(r"[\d/.]+")


def read_addresses(text: str, language: str, how: AddressReading) -> str:
    """Return a text with its addresses as words, as the host alone, or without them."""
    if not re.search(r"[./\\@#]", text):
        return text

    def said(address: str) -> str:
        if how == "omit":
            return " "
        if how == "host":
            address = re.split(r"(?<![/:])[/?#]", address, maxsplit=1)[0]
        return f" {_spelled(address, language)} "

    text = _WEB.sub(lambda m: said(re.sub(r"^www\.", "", m["rest"], flags=re.I)), text)
    text = _MAIL.sub(lambda m: said(m[0]), text)
    text = _HOST.sub(lambda m: said(re.sub(r"^www\.", "", m[0].rstrip("/"), flags=re.I)), text)
    return _PLACE.sub(lambda m: said(_NUMBERS.sub(lambda n: " ".join(n[0]), m[0])), text)


def read_names(text: str, language: str) -> str:
    """Return a text with the names of files, of accounts, of tags and of code as words."""
    if not re.search(r"[./\\@#]", text):
        return text
    text = _FILE.sub(lambda m: m[0] if _is_words(m[0]) else f" {_spelled(m[0], language)} ", text)
    text = _GLUED.sub(r"\g<0> ", _GLUED_SHORT.sub(r"\1 ", text))
    text = _NAME.sub(lambda m: m[0] if _SHORT.fullmatch(m[0]) else _dotted(m[0], language), text)
    text = _HIDDEN.sub(f"{_SAID[language]['.']} ", text)
    text = _HANDLE.sub(" 艾特" if language == "zh" else "at ", text)
    return _HASHTAG.sub(lambda m: _tag(m[1], language), _CODE.sub("number ", text))


def _dotted(name: str, language: str) -> str:
    dot = _SAID[language]["."]
    return _DOTTED.sub(f" {dot} ", name).replace("()", "").removeprefix(".")


def _tag(name: str, language: str) -> str:
    words = _HUMP.sub(" ", name).replace("_", " ")
    return f"话题{words}" if language == "zh" else f"hashtag {words}"


def _is_words(path: str) -> bool:
    """Whether this is a choice or a date ("and/or/not", "1/5/24"), no path."""
    if path[0] in "/~." or ":" in path[:2]:
        return False
    return bool(_NUMBER_ONLY.fullmatch(path)) or not re.search(r"[._]|\d", path)


def _spelled(address: str, language: str) -> str:
    words = _SAID[language]
    plain = _OTHERS.sub(" ", unquote(address).strip("/"))
    return " ".join(_MARK.sub(lambda m: f" {words[m[0]]} ", plain).split())
