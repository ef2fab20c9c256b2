"""Text of a server that shows no ids -> ids: `<audio_N>` becomes the audio id, the rest text ids.

The ids of text are those of encoding it again; decoded they are the same characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from step_audio.core.ports import TextTokenizer
from step_audio.core.vocab import AUDIO_SIZE, Vocab

_AUDIO: Final = re.compile(r"<audio_(\d{1,4})>")
_BEGUN: Final = re.compile(r"<(?:a(?:u(?:d(?:i(?:o(?:_\d{0,4})?)?)?)?)?)?$")


class SpelledIds:
    """Stage[str, int]; an unfinished `<audio_` waits for its end."""

    def __init__(self, text_tokenizer: TextTokenizer, vocab: Vocab) -> None:
        self._text_tokenizer, self._vocab = text_tokenizer, vocab
        self._newline = text_tokenizer.encode("\n")
        self._rest = ""

    def push(self, piece: str, /) -> Iterable[int]:
        """Return the ids of what is certain by now."""
        text = self._rest + piece
        begun = _BEGUN.search(text)
        cut = begun.start() if begun else len(text)
        self._rest = text[cut:]
        return self._ids(text[:cut])

    def flush(self) -> Iterable[int]:
        """Return the ids of the rest."""
        rest, self._rest = self._rest, ""
        return self._ids(rest)

    def _ids(self, text: str) -> list[int]:
        # The pattern has one group: texts and numbers alternate.
        parts = _AUDIO.split(text)
        ids: list[int] = []
        for number, part in enumerate(parts):
            if number % 2 == 0:
                ids += self._text(part)
            elif int(part) < AUDIO_SIZE:
                ids.append(self._vocab.audio_base + int(part))
            else:
                ids += self._text(f"<audio_{part}>")
        return ids

    def _text(self, text: str) -> list[int]:
        if not text:
            return []
        # Behind a newline, so that a sentencepiece model adds no space of its own.
        ids = self._text_tokenizer.encode("\n" + text)
        cut = len(self._newline)
        return ids[cut:] if ids[:cut] == self._newline else self._text_tokenizer.encode(text)
