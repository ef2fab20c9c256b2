"""Text as it is printed -> the plain sentence that a voice was trained to read.

Books, web pages and the answers of text models bring typographic quotes and dashes, markdown and
emoji. A small speech model has met none of them and babbles; nobody would read them aloud.
"""

from __future__ import annotations

import re
from typing import Final

_CJK: Final = re.compile(r"[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]")

_UNSEEN: Final = re.compile(
    "[\u00ad\u200b-\u200f\u2060\ufeff\ufe0e\ufe0f\u20e3\u2190-\u21ff\u2600-\u27bf"
    "\U0001f000-\U0001faff\U000e0020-\U000e007f]"
)
"""Marks without width, arrows, dingbats and emoji."""

_SPACES: Final = re.compile(r"[\t\r\n\u00a0\u2000-\u200a\u202f\u205f]")

_LATIN: Final = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′ʼ", "'"),
        **dict.fromkeys("“”„‟″«»", '"'),
        **{"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl"},
        **{"−": "-", "‐": "-", "‑": "-", "…": "..."},
    }
)
"""Chinese print keeps its own quotes, dashes and dots; elsewhere these are plain."""

_MARKDOWN: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"^\s*(?:#{1,6}|[-*+>•]|\d{1,3}\))\s+(?=\S)"), ""),  # heading, list, quotation
    (re.compile(r"!?\[([^\]\n]*)\]\([^)\s]*(?:\s+\"[^\"]*\")?\)"), r"\1"),  # link, picture
    (re.compile(r"`+|~~|\*{2,}|_{2,}"), ""),
    # One star or underscore at the edge of a word; 2*3 and snake_case stay.
    (re.compile(r"(?<![\w*])\*(?=\S)|(?<=[^\s*])\*(?!\w)"), ""),
    (re.compile(r"(?<!\w)_(?=\S)|(?<=\S)_(?!\w)"), ""),
    (re.compile(r"</?[A-Za-z][^<>\n]{0,80}>"), ""),
)
_DASH: Final = re.compile(r"(?<=\d)\s?–\s?(?=\d)")
_BREAK: Final = re.compile(r"\s*(?:[—―]|\s–\s|\s--+\s|(?<=\w)--+(?=\w))\s*")
_MANY_SPACES: Final = re.compile(r" {2,}")


def plain(text: str) -> str:
    """Return one sentence without what only the eye reads; "" when nothing else is in it."""
    text = _SPACES.sub(" ", _UNSEEN.sub("", text))
    for pattern, kept in _MARKDOWN:
        text = pattern.sub(kept, text)
    if not _CJK.search(text):
        text = _BREAK.sub(", ", _DASH.sub("-", text.translate(_LATIN))).replace("–", "-")
    text = _MANY_SPACES.sub(" ", text).strip().strip(",").strip()
    return text if any(c.isalnum() for c in text) else ""
