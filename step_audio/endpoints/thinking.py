"""What a model thinks, out of what it says: between <think> tags, where servers leave them in."""

from __future__ import annotations

from typing import Final

from step_audio.core.types import Reasoning, TextDelta

_OPEN: Final = ("<think>", "<thinking>")
_CLOSE: Final = ("</think>", "</thinking>")


class ThinkingFilter:
    """Stage[str, TextDelta | Reasoning]: the content of one answer, cut anywhere.

    Args:
        begins_inside: the chat template itself opens the tag, so an answer begins with thoughts.
    """

    def __init__(self, *, begins_inside: bool = False) -> None:
        self._inside, self._held = begins_inside, ""
        self._blank = True  # white space in front of the first word is dropped

    def push(self, piece: str, /) -> list[TextDelta | Reasoning]:
        """Take a piece of content; text passes once it cannot be the beginning of a tag."""
        self._held += piece
        out: list[TextDelta | Reasoning] = []
        while True:
            tags = _CLOSE if self._inside else (*_OPEN, *_CLOSE)
            found = min(
                ((at, tag) for tag in tags if (at := self._held.find(tag)) >= 0), default=None
            )
            if found is None:
                keep = max(_overlap(self._held, tag) for tag in tags)
                out += self._made(self._held[: len(self._held) - keep])
                self._held = self._held[len(self._held) - keep :]
                return out
            at, tag = found
            out += self._made(self._held[:at])
            self._held = self._held[at + len(tag) :]
            self._inside = tag in _OPEN

    def flush(self) -> list[TextDelta | Reasoning]:
        """Return the rest; thoughts that were never closed stay thoughts."""
        held, self._held = self._held, ""
        return self._made(held)

    def _made(self, text: str) -> list[TextDelta | Reasoning]:
        if self._inside:
            return [Reasoning(text)] if text else []
        if self._blank:
            text = text.lstrip()
            self._blank = not text
        return [TextDelta(text)] if text else []


def _overlap(text: str, tag: str) -> int:
    """Return how many characters at the end of `text` may begin `tag`."""
    longest = min(len(text), len(tag) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(tag[:n])), 0)
