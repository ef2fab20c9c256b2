"""The sound of a question and what is known of its words."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field, replace
from typing import Final

from step_audio.core.ports import RecognitionHints
from step_audio.core.types import Pcm, Transcript

SPEECH_HZ: Final = 16_000
"""Rate of the sound that is kept for recognizers."""
SETTLE_S: Final = 6.0
"""So much speech before a pause is not recognized again when the person goes on."""

_WORD: Final = re.compile(
    r"\s*(?:[\u2e80-\u9fff\uac00-\ud7ff\uff00-\uffef]|[^\s\u2e80-\u9fff\uac00-\ud7ff\uff00-\uffef]+)"
)
"""A word with the space in front of it; scripts without spaces go by the character."""


@dataclass(slots=True)
class RecognizedSoFar:
    """What passes over an utterance that is still spoken have found.

    Two passes in a row that begin with the same words make these words stable: only they are
    shown, and only they are given to the next pass as known.

    Attributes:
        settled: words of the first `settled_samples`, which are not recognized again.
        stable: words that followed in the last two passes alike.
        shown: all that was shown of the utterance; only grows.
    """

    settled: Transcript = field(default_factory=lambda: Transcript(""))
    settled_samples: int = 0
    stable: str = ""
    shown: str = ""
    _newest: list[str] = field(default_factory=list)

    def hints(self, hints: RecognitionHints) -> RecognitionHints:
        """Return a session's hints with what is known of the words that come."""
        context = f"{hints.context} {self.settled.text}".strip()
        return replace(hints, context=context, begins=self.stable)

    def passed(self, text: str) -> str:
        """Take what a pass over the sound after `settled_samples` found; return what to show."""
        found = words(text)
        agreed = _agreed(self._newest, found)
        self._newest = found
        # The last word may be half of a longer one.
        stable = found[: min(agreed, len(found) - 1)]
        if len(stable) < len(words(self.stable)):
            return ""
        self.stable = "".join(stable)
        return self._show(joined(self.settled.text, self.stable))

    def settle(self, heard: Transcript, samples: int) -> str:
        """Take the words of everything up to a pause; return what to show."""
        self.settled, self.settled_samples = heard, samples
        self.stable, self._newest = "", []
        return self._show(heard.text)

    def _show(self, text: str) -> str:
        new = rest_of(text, self.shown)
        self.shown += new
        return new


@dataclass(eq=False, slots=True)
class Speech:
    """The sound of a question, or of its beginning.

    Attributes:
        pcm: (T,) at `SPEECH_HZ`.
        so_far: what was found while it was spoken; shared by all beginnings of an utterance.
        words: what finds its words, once somebody asked.
    """

    pcm: Pcm
    so_far: RecognizedSoFar = field(default_factory=RecognizedSoFar)
    words: asyncio.Task[Transcript] | None = None

    @property
    def duration_s(self) -> float:
        """Its length."""
        return len(self.pcm) / SPEECH_HZ

    @property
    def unsettled(self) -> Pcm:
        """What is still to be recognized."""
        return self.pcm[self.so_far.settled_samples :]


def words(text: str) -> list[str]:
    """Return the words of a text, each with the space in front of it."""
    return _WORD.findall(text)


def joined(first: str, second: str) -> str:
    """Return two texts as one, with a space between words that are written with spaces."""
    first, second = first.rstrip(), second.strip()
    spaced = first[-1:].isascii() and second[:1].isascii()
    return first + " " + second if first and second and spaced else first + second


def rest_of(text: str, begun: str) -> str:
    """Return what follows in `text` after the words of `begun`; "" when it does not begin so."""
    known, found = words(begun), words(text)
    if _agreed(known, found) < len(known):
        return ""
    return "".join(found[len(known) :])


def _agreed(first: list[str], second: list[str]) -> int:
    """Return how many words two texts have in common at their beginning."""
    count = 0
    for a, b in zip(first, second, strict=False):
        if _plain(a) != _plain(b):
            break
        count += 1
    return count


def _plain(word: str) -> str:
    return re.sub(r"\W", "", word).casefold() or word.strip()
