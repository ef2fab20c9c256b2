"""Text in pieces -> sentences short enough to be read aloud one by one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

MAX_CHARS: Final = 200

_CJK_END: Final = "。！？；…"
# An end of sentence: a CJK mark, a line break, or a Latin mark with its closing quotes before
# space. A point inside a number or at the very end of what is known so far is none.
_END: Final = re.compile(rf"[{_CJK_END}]+[”’」』）]*|\n+|[.!?]+[\"'”’)\]]*(?=\s)")
_ABBREVIATION: Final = re.compile(
    r"(?:^|[\s(])(?:mr|mrs|ms|dr|prof|st|vs|etc|e\.g|i\.e|[a-z])\.$", re.I
)
_BREATH: Final = re.compile(r".*[,;:，、：\s]", re.S)


class SentenceSplitter:
    """Stage[str, str]: what comes out, joined, is what came in, without outer spaces."""

    def __init__(self, max_chars: int = MAX_CHARS) -> None:
        self._max_chars = max_chars
        self._text = ""

    def push(self, piece: str, /) -> Iterable[str]:
        """Take the next piece of text and return the sentences that are complete."""
        self._text += piece
        out = []
        while (cut := self._cut()) is not None:
            sentence, self._text = self._text[:cut].strip(), self._text[cut:]
            out += [sentence] if sentence else []
        return out

    def flush(self) -> Iterable[str]:
        """Return the last sentence, closed or not."""
        rest, self._text = self._text.strip(), ""
        return (rest,) if rest else ()

    def _cut(self) -> int | None:
        """Return where the first sentence ends, None while it may go on."""
        for end in _END.finditer(self._text):
            if end.end() > self._max_chars:
                break
            if not _ABBREVIATION.search(self._text[: end.end()]):
                return end.end()
        if len(self._text) <= self._max_chars:
            return None
        # Too long for one breath: at the last comma or space, or in the middle of a word.
        breath = _BREATH.match(self._text[: self._max_chars])
        return breath.end() if breath else self._max_chars


def sentences(text: str, max_chars: int = MAX_CHARS) -> list[str]:
    """Return the sentences of a whole text."""
    splitter = SentenceSplitter(max_chars)
    return [*splitter.push(text), *splitter.flush()]
