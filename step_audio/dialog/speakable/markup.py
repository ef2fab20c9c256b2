"""Markdown, HTML, BBCode and TeX -> the words that they mark.

Only what is known is markup: a tag has a known name and attributes as HTML writes them, so that
"a<b and c>d" or "List<String>" keep their words.
"""

from __future__ import annotations

import html
import re
from typing import Final

from step_audio.dialog.speakable.characters import cleaned

# Of HTML, of SSML, and what text models put around their thoughts.
_TAGS: Final = re.findall(
    r"\S+",
    "a abbr acronym address area article aside audio b base bdi bdo big blockquote body br "
    "button canvas caption center cite code col colgroup data dd del details dfn dialog div "
    "dl dt em embed fieldset figcaption figure font footer form h[1-6] head header hr html i "
    "iframe img input ins kbd label legend li link main map mark meta meter nav noscript "
    "object ol optgroup option output p param picture pre progress q rp rt ruby s samp script "
    "section select small source span strike strong style sub summary sup svg table tbody td "
    "template textarea tfoot th thead time title tr track tt u ul var video wbr speak break "
    "prosody emphasis say-as phoneme voice amazon:effect mstts:express-as think ",
)
_BLOCKS: Final = re.compile(
    r"</?(?:br|p|div|li|tr|td|th|h[1-6]|hr|ul|ol|table|blockquote|pre|section|article|dd|dt|option"
    r"|title|header|footer|break|think)\b", re.I
)  # fmt: skip
_TAG: Final = re.compile(
    rf"</?(?:{'|'.join(_TAGS)})"
    r"(?:\s+(?:[\w:.-]+\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s\"'<>=]+)"
    r"|checked|disabled|selected|hidden|controls|open|async|defer|required|nowrap))*\s*/?>",
    re.I,
)
_OPENED: Final = re.compile(r"(?<=[\w\])])<(\w+)>")
_SPOKEN_OF: Final = re.compile(
    r"<(\w+)>(?=\s+(?:tags?|elements?|attributes?)\b|\s*(?:标签|元素))"
    r"|(?<=\w )<(?!(?:br|hr|wbr|p|img)>)(\w+)>"
    r"(?=\s+(?:and|or|to|for|is|are|in)\b|[,.;:!?](?:\s|$))",
    re.I,
)
"""A tag that the text is about: nothing stands in it."""
_PAIRED: Final = re.compile(r"<([A-Za-z][\w.:-]{0,39})>(?=[^\n]*</\1\s*>)")
_CLOSING: Final = re.compile(r"</[A-Za-z][\w.:-]{0,39}\s*>")
_PLACEHOLDER: Final = re.compile(
    r"(?:(?<=[\s(\[\"'“‘>,:=/@-])|(?<=[\u3400-\u9fff，。：；、（](?=<[^<>]*[\u3400-\u9fff])))"
    r"<([^\W\d_](?:(?!\s(?:and|or)\s|[且或和])[^<>=|\n]){0,39})>"
    r"(?=[\s.,;:!?)\]\"'”’<=/@-]|$|[\u3000-\u303f\u3400-\u9fff\uff00-\uffef])"
)
"""What somebody else is to fill in, as in "Dear <name>,"."""
_COMMENT: Final = re.compile(
    r"<!--.*?(?:-->|$)|<!DOCTYPE[^>]*>|<!\[CDATA\[|\]\]>|<\?xml[^>]*>", re.I | re.S
)
_ENTITY: Final = re.compile(r"&(?:#\d{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_SPECIAL_TOKEN: Final = re.compile(r"<\|([^|<>\n]{1,40})\|>")
_BBCODE: Final = re.compile(
    r"\[/?(?:b|i|u|s|quote|code|url|img|size|color|list|spoiler|center)(?:=[^\]\n]*)?\]", re.I
)

_FENCE: Final = re.compile(
    r"\s*(?:>\s*)*(?:`{3,}|~{3,})\s*[\w.+#-]*(?:\s+[\w.+#={}:\",\[\]-]+)*\s*"
)
_RULER: Final = re.compile(r"\s*\|?\s*:?-+:?\s*(?:[|+]\s*:?-+:?\s*)*[|+]?\s*")
_CELLS: Final = re.compile(r"\s*(?<!\\)\|\s*")
_ROW: Final = re.compile(r"\s*\||.*(?:\s\|\s|\|\s*$)", re.S)
_LINE_MARK: Final = re.compile(
    r"\s*(?:#{1,6}\s+|[-*+\u2022\u2023\u25e6\u25aa\u25cf\u25a0\u2013]\s+|(?:>\s?)+(?![\d.=])|>\s+"
    r"|\[[ xX]\]\s+|\d{1,3}\)\s+)(?=\S)"
)
_HEADING_END: Final = re.compile(r"(?<=\S)\s+#{1,6}\s*$")
_QUOTED_LINE: Final = re.compile(r"\n[ \t]*(?:>[ \t]?)+")

_TARGET: Final = (
    r"\(\s*(?:<[^<>\n]*>|(?:[^()\n]|\([^()\n]*\))*?)(?:\s+(?:\"[^\"]*\"|'[^']*'))?\s*\)"
)
_LINK: Final = re.compile(rf"!?\[((?:[^\[\]\n]|\[[^\[\]\n]*\])*)\](?:{_TARGET}|\[[^\[\]\n]*\])")
_BARE_LINK: Final = re.compile(rf"!?\[\]({_TARGET})")
_WIKI_LINK: Final = re.compile(r"\[\[(?:[^\[\]|\n]*\|)?([^\[\]|\n]+)\]\]")
_FOOTNOTE: Final = re.compile(r"\[\^[^\]\s]{1,20}\]:?")
_REFERENCE: Final = re.compile(r"^\s*\[([^\]\n]+)\]:\s+(?=<?\w+:|<?www\.|/)")
_ANGLED: Final = re.compile(
    r"<((?:https?|ftp|mailto):[^<>\s]+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+)>", re.I
)

_EMPHASIS: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"(?<!=)==(?=[^\s=])([^=\n]*[^\s=])==(?!=)"), r"\1"),
    (re.compile(r"(?<![+\w])\+\+(?=[^\s+])([^+\n]*[^\s+])\+\+(?![+\w])"), r"\1"),
    (re.compile(r"(?<!\|)\|\|(?=[^\s|])([^|\n]*[^\s|])\|\|(?!\|)"), r"\1"),
    (re.compile(r"(?<=\w)\*\*(?=\d+(?![\d*]))"), "^"),
    (re.compile(r"`+|~~|\*{2,}|(?<![^\W_])_{2,}|_{2,}(?![^\W_])"), ""),
    # One star or underscore at the edge of a word; 2*3 and snake_case stay.
    (re.compile(r"(?<![\w*])\*(?=\S)|(?<=[^\s*])\*(?!\w)"), ""),
    (re.compile(r"(?<!\w)_(?=\S)|(?<=\S)_(?!\w)"), ""),
    (re.compile(r"(?<=\w)~(\d+)~(?=\w|\b)"), r"\1"),  # H~2~O
    (re.compile(r"\\(?=[*_`#\[\]()<>~|{}!+.-](?!\\))"), ""),
)

_TEX: Final = re.compile(
    r"\$\$([^$\n]+)\$\$|(?<![\w$])\$(?=[^\s\d$])([^$\n]*[\\^_={}+][^$\n]*|[A-Za-z])(?<=\S)\$(?!\w)"
    r"|\\\((.+?)\\\)|\\\[(.+?)\\\]"
)
_TEX_OVER: Final = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_TEX_NAMES: Final = {
    **{"times": "×", "cdot": "×", "div": "÷", "pm": "±", "leq": "≤", "le": "≤", "geq": "≥"},
    **{"ge": "≥", "neq": "≠", "ne": "≠", "approx": "≈", "infty": "∞", "to": "→", "sqrt": "√"},
    **{"rightarrow": "→", "sum": "∑", "int": "∫", "degree": "°", "quad": " ", "left": ""},
    "right": "",
    **{"text": "", "mathrm": "", "mathbf": "", "mathbb": "", "operatorname": "", "ldots": "..."},
}  # fmt: skip


def without_quotation(text: str) -> str:
    """Return lines that were broken to fit a page without the marks of mail's quotations."""
    return _QUOTED_LINE.sub("\n", text)


def without_blocks(text: str) -> str:
    """Return a line without its fence, table bars, list mark, heading mark or quotation marks."""
    if _FENCE.fullmatch(text) or _RULER.fullmatch(text):
        return ""
    while (mark := _LINE_MARK.match(text)) and mark.end():
        text = text[mark.end() :]
    text = _HEADING_END.sub("", text)
    if "|" in text and _ROW.match(text) and "||" not in text:
        cells = [cell.replace("\\|", "|").strip() for cell in _CELLS.split(text)]
        return ", ".join(cell for cell in cells if cell and not _RULER.fullmatch(cell))
    return text


def without_links(text: str) -> str:
    """Return a text with the words of its links, and the addresses of links that have none."""
    if "[" in text:
        text = _REFERENCE.sub(r"\1, ", text)
        text = _FOOTNOTE.sub("", text)
        text = _BARE_LINK.sub(lambda m: m[1][1:-1].strip(" <>"), text)
        for _ in range(2):  # a picture may stand in a link
            text = _LINK.sub(r"\1", text)
        text = _WIKI_LINK.sub(r"\1", text)
        if "[/" in text:
            text = _BBCODE.sub("", text)
    return text


def without_tags(text: str) -> str:
    """Return a text without tags and comments of HTML, its entities as characters."""
    if "<" in text:
        text = _COMMENT.sub(" ", text)
        text = _ANGLED.sub(r", \1 ", text) if _ANGLED.search(text) else text
        text = _SPECIAL_TOKEN.sub(lambda m: f" {m[1].replace('_', ' ')} ", text)
        kept = {m.start() for m in _OPENED.finditer(text) if not _is_closed(text, m)}
        kept |= {m.start() for m in _SPOKEN_OF.finditer(text) if not _is_closed(text, m)}
        text = _TAG.sub(lambda m: m[0] if m.start() in kept else _gap(m[0]), text)
    for _ in range(2):  # what went through two programs was escaped twice
        if _ENTITY.search(text):
            text = cleaned(_ENTITY.sub(lambda m: html.unescape(m[0]), text))
    return text


def without_angles(text: str) -> str:
    """Return a text in which what stands in angle brackets, and is no tag, is words."""
    if "<" not in text:
        return text
    text = _PAIRED.sub(r" \1 ", text)
    text = _CLOSING.sub(" ", text)
    return _PLACEHOLDER.sub(r"\1", text)


def without_emphasis(text: str) -> str:
    """Return a text without the marks of bold, slanted, struck, marked and code."""
    for pattern, kept in _EMPHASIS:
        text = pattern.sub(kept, text)
    return text


def without_tex(text: str) -> str:
    """Return a text with the formulas between dollars or TeX brackets in plain signs."""
    if "$" not in text and "\\" not in text:
        return text
    return _TEX.sub(lambda m: _formula(m[1] or m[2] or m[3] or m[4]), text)


def _is_closed(text: str, opened: re.Match[str]) -> bool:
    """Whether a tag right behind a letter, as in H<sub>2</sub>O, is one: its end follows."""
    name = opened[opened.lastindex or 1]
    void = name.lower() in {"br", "wbr", "hr"} and opened.re is _OPENED
    return void or bool(re.search(rf"</{name}\s*>", text[opened.end() :], re.I))


def _gap(tag: str) -> str:
    return " " if _BLOCKS.match(tag) else ""


def _formula(tex: str) -> str:
    tex = _TEX_OVER.sub(r"\1 over \2", tex)
    tex = re.sub(r"\\([A-Za-z]+)", lambda m: _TEX_NAMES.get(m[1], f" {m[1]} "), tex)
    tex = re.sub(r"\^\{([^{}]*)\}", r"^\1", tex)
    return re.sub(r"[{}\\]", " ", tex.replace("_", " "))
