"""Text in pieces -> sentences short enough to be read aloud one by one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

MAX_CHARS: Final = 200

_CJK_END: Final = "。！？；…"
_LINE_BREAK: Final = r"(?:\r\n?|[\n\f\v\x85\u2028\u2029])"
# An end of sentence: a CJK mark, a line break, or a Latin mark with its closing quotes before
# space. A point inside a number or at the very end of what is known so far is none.
_END: Final = re.compile(
    rf"[{_CJK_END}]+[”’」』）]*|{_LINE_BREAK}+|[.!?．؟۔।]+[\"'”’»)\]*_]*(?=\s)|．(?=[^\W\d])"
)
_PAGE_BREAK: Final = re.compile(r"(?:\r?\n)?[\f\v]\r?\n?")
_ANY_BREAK: Final = re.compile(_LINE_BREAK)
_HYPHEN_BREAK: Final = re.compile(r"[^\W\d_][-\u2010\u00ad\u00ac]\n\Z")
_QUOTATION: Final = re.compile(r"[ \t]*(?:>[ \t]?)+")
_ABBREVIATION: Final = re.compile(
    r"(?:^|[\s(\"“])(?:(?i:mr|mrs|ms|dr|prof|st|mt|rev|gen|sen|gov|capt|col|lt|sgt|messrs|vs|etc"
    r"|e\.g|i\.e|approx|[a-z])|(?:[A-Z]\.)+[A-Z])\.$"
)
_OPEN_ABBREVIATION: Final = re.compile(
    r"(?:^|[\s(\d\"'“‘])(?i:[ap]\.m|ph\.d|nos?|jan|feb|mar|apr|aug|sept?|oct|nov|dec|jr|sr|inc|ltd|co|corp"
    r"|tel|ext|apt|art|eq|ed|ste|rm|ave|blvd|rd|dept|min|sec|hrs?|est|figs?|vol|ch|pp?|ft|lbs?|oz)\.$"
)
"""Those that end a sentence as often as not: what comes next tells."""
_ROMAN_VOLUME: Final = re.compile(r"\b(?i:vol|ch|pt|art|bk)\.$")
_SAID_NO: Final = re.compile(r"\b(?:said|says?|is|was|voted|answered|replied|or)\s+no\.$")
_AHEAD_CHARS: Final = 12
_WORD_CHARS: Final = 24
"""More than any of them has."""
_WRAPPED_CHARS: Final = 50
"""A line of so many characters without a mark at its end goes on in the next: it was broken to fit
a page, as in the plain text of most free books."""
_OPEN_MARKS: Final = frozenset(",;-–—'’\"”)")
_OPENING: Final = frozenset("\"'“‘(")
_CJK: Final = re.compile(r"[\u2e80-\u9fff\uac00-\ud7ff]")
_NUMBERED: Final = re.compile(r"\d{1,3}[.)]\s")
_CLAUSE: Final = re.compile(r"[,;:]\s|[，；：、]")
_BREATH: Final = re.compile(r".*(?:[，、：\s]|[,;:](?=[\u2e80-\u9fff]))", re.S)
"""Neither a number nor an address is cut: their commas and colons have no space behind them."""
_ITEM_NUMBER: Final = re.compile(r"\s*\d{1,2}\.")


class SentenceSplitter:
    """Stage[str, str]: what comes out, joined, is what came in, without outer spaces."""

    def __init__(self, max_chars: int = MAX_CHARS, *, first_clause: int | None = None) -> None:
        """Args: `first_clause`: the first clause is a piece of its own, if it has so many
        characters; None: only whole sentences are."""
        self._max_chars, self._first_clause = max_chars, first_clause
        self._text = ""
        self._column = 0  # of the first character of the text

    def push(self, piece: str, /) -> Iterable[str]:
        """Take the next piece of text and return the sentences that are complete."""
        self._text += piece
        out, start = list[str](), 0
        while (cut := self._piece(start)) is not None:
            self._first_clause = None
            taken = self._text[start:cut]
            self._column = _column(self._column, taken)
            out += [sentence] if (sentence := taken.strip()) else []
            start = cut
        self._text = self._text[start:]
        return out

    def flush(self) -> Iterable[str]:
        """Return the last sentence, closed or not."""
        rest, self._text, self._column = self._text.strip(), "", 0
        return (rest,) if rest else ()

    def _piece(self, start: int) -> int | None:
        """Return where the sentence ends, or the first clause before that; None: it may go on."""
        sentence = self._cut(start)
        if self._first_clause is None:
            return sentence
        last = len(self._text) if sentence is None else sentence
        clause = _CLAUSE.search(self._text, start + self._first_clause, last)
        return clause.end() if clause else sentence

    def _cut(self, start: int) -> int | None:
        """Return where the sentence from `start` on ends, None while it may go on."""
        limit = start + self._max_chars
        # Looking further than a sentence may reach would take a minute for a row of 10 000 "!".
        for end in _END.finditer(self._text, start, limit + 1):
            if end.end() > limit:
                break
            said = self._text[start : end.end()]
            rest = self._text[end.end() : end.end() + _AHEAD_CHARS]
            goes_on = False
            if end[0].isspace():
                said = _ANY_BREAK.sub("\n", _PAGE_BREAK.sub("\f", said))
                goes_on = _is_wrapped(self._column, said, rest) or _is_cut(said, end[0], rest)
            if not (goes_on or _is_shortened(said, rest)):
                return end.end()
        if len(self._text) - start <= self._max_chars:
            return None
        # Too long for one breath: at the last comma or space, or in the middle of a word.
        breath = _BREATH.match(self._text, start, limit)
        return breath.end() if breath else limit


def sentences(text: str, max_chars: int = MAX_CHARS) -> list[str]:
    """Return the sentences of a whole text."""
    splitter = SentenceSplitter(max_chars)
    return [*splitter.push(text), *splitter.flush()]


def _is_shortened(said: str, rest: str) -> bool:
    """Whether the mark at the end of `said` is that of an abbreviation, no end as far as known."""
    if _ITEM_NUMBER.fullmatch(said):
        return True
    said = said[-_WORD_CHARS:]
    if _ABBREVIATION.search(said):
        return True
    if not _OPEN_ABBREVIATION.search(said):
        return False
    following = rest.lstrip()[:1]
    unknown = not following and len(rest) < _AHEAD_CHARS
    if following.isdigit() and _SAID_NO.search(said):
        return False
    if _ROMAN_VOLUME.search(said) and re.match(r"\s*[IVXLC]+\b", rest):
        return True
    return unknown or following.islower() or following.isdigit() or following in "+#("


def _is_wrapped(column: int, said: str, rest: str) -> bool:
    """Whether the line break at the end of `said` is none in the text, as far as is known."""
    line = said.removesuffix("\n")
    if line == said or _column(column, line) < _WRAPPED_CHARS:
        return False
    last_line = line[line.rfind("\n") + 1 :]
    if " | " in last_line:  # the row of a table
        return False
    if column == 0 and _QUOTATION.match(last_line) and (quoted := _QUOTATION.match(rest)):
        rest = rest[quoted.end() :]
    last, following = line.rstrip()[-1:], rest[:1]
    # Chinese is not wrapped in plain text, and has no space for a line break to stand for.
    if not (last.isalnum() or last in _OPEN_MARKS) or _CJK.match(last):
        return False
    is_text = following.isalnum() or following in _OPENING
    return not following or (is_text and not _NUMBERED.match(rest))


def _is_cut(said: str, mark: str, rest: str) -> bool:
    """Whether a line or a page was broken within a word or a sentence, as far as is known."""
    following = rest.lstrip()[:1]
    unknown = not following and len(rest) < _AHEAD_CHARS
    if _HYPHEN_BREAK.search(said):
        return unknown or following.islower()
    if "\f" not in mark and "\v" not in mark:
        return False
    last = said.rstrip()[-1:]
    return (last.isalnum() or last in _OPEN_MARKS) and (unknown or following.islower())


def _column(column: int, text: str) -> int:
    """Return the column behind `text` that begins in `column`."""
    line_break = max(text.rfind(mark) for mark in "\n\r\f\v\x85\u2028\u2029")
    return column + len(text) if line_break < 0 else len(text) - line_break - 1
