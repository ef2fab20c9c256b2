"""Ends an answer that has lost its way: a loop, or sound that goes on without words.

A language model may repeat itself for the rest of its budget. The guard sees the same ids and
events as everybody else, whatever engine makes them, and says when to stop; what was said until
then stands. Thresholds are far from what speech does: slow singing stays well inside.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable
from typing import Final, Literal

from step_audio.core.types import GROUP_MS, TextDelta, TokenGroup
from step_audio.core.vocab import Vocab
from step_audio.dialog.response.parser import Parsed

Reason = Literal["text_loop", "audio_loop", "audio_runs_on"]

_TEXT_LOOP: Final = 48
_GROUP_LOOP: Final = 25
"""Ids, groups (3 s) that a loop lasts before it is one; a pause may hold the same group as long."""
_LONGEST_PERIOD: Final = 16
_REPEATS: Final = 4

_SPARE_S: Final = 4.0
_LETTER_S, _DIGIT_S, _IDEOGRAPH_S = 0.07, 0.5, 0.25
_SLOWEST: Final = 3.0
"""Seconds of usual speech for a character, and how much slower a voice may be asked to speak."""


class Periodicity:
    """Notices that a sequence repeats itself, whatever the length of what is repeated."""

    def __init__(self, least: int, longest_period: int = _LONGEST_PERIOD) -> None:
        """Args: least: a loop is at least so long, and at least four rounds."""
        self._least = least
        self._recent: deque[Hashable] = deque(maxlen=longest_period)
        self._equal = [0] * longest_period  # [p - 1]: how many items in a row equal the p-th last

    def push(self, item: Hashable) -> bool:
        """Take the next item; return True when the sequence is in a loop."""
        looping = False
        for back, earlier in enumerate(reversed(self._recent)):
            self._equal[back] = self._equal[back] + 1 if item == earlier else 0
            length = self._equal[back] + back + 1
            looping |= self._equal[back] > 0 and length >= max(self._least, _REPEATS * (back + 1))
        self._recent.append(item)
        return looping


class DegenerationGuard:
    """Watches one turn of the assistant."""

    def __init__(self, vocab: Vocab, *, text: str | None = None) -> None:
        """Args: text: what is to be read, when the model does not write it itself."""
        self._vocab = vocab
        self._text_loop = Periodicity(_TEXT_LOOP)
        self._group_loop = Periodicity(_GROUP_LOOP)
        self._has_text = bool(text)
        self._spoken_s = speaking_s(text or "")
        self._groups = 0

    def push(self, token_id: int, events: Iterable[Parsed]) -> Reason | None:
        """Take an id and what the parser made of it; return why the answer must end, or None."""
        reason: Reason | None = None
        if not self._vocab.is_audio(token_id) and self._text_loop.push(token_id):
            reason = "text_loop"
        for event in events:
            if isinstance(event, TextDelta):
                self._has_text = True
                self._spoken_s += speaking_s(event.text)
            elif isinstance(event, TokenGroup):
                self._groups += 1
                if self._group_loop.push(event):
                    reason = "audio_loop"
        if self._has_text and self._groups * GROUP_MS / 1000 > _SPARE_S + _SLOWEST * self._spoken_s:
            reason = reason or "audio_runs_on"
        return reason


def speaking_s(text: str) -> float:
    """Return about how long a text takes to say at a usual pace."""
    total = 0.0
    for char in text:
        if char.isdigit():
            total += _DIGIT_S
        elif char.isascii():
            total += _LETTER_S
        elif char.isalnum():
            total += _IDEOGRAPH_S
    return total
