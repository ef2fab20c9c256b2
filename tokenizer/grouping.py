"""Two code streams to groups of 120 ms: 2 linguistic and 3 semantic codes each.

Whole groups only, as in the reference: what lacks its partner at the end of a clip is dropped
(`interleave`). A live stream drops nothing: it is continued with silence to a whole group before
it is tokenised (see stream.py), so the last word's end is heard.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from step_audio.core.types import LINGUISTIC_PER_GROUP, SEMANTIC_PER_GROUP, TokenGroup


class Grouper:
    """Holds codes of either stream until their group is whole."""

    def __init__(self) -> None:
        self._linguistic: deque[int] = deque()
        self._semantic: deque[int] = deque()

    def add(self, linguistic: Iterable[int], semantic: Iterable[int]) -> list[TokenGroup]:
        """Take the next codes of both streams, any number of each; return the whole groups."""
        self._linguistic.extend(linguistic)
        self._semantic.extend(semantic)
        groups = min(
            len(self._linguistic) // LINGUISTIC_PER_GROUP, len(self._semantic) // SEMANTIC_PER_GROUP
        )
        return [self._next() for _ in range(groups)]

    def _next(self) -> TokenGroup:
        first, second = self._linguistic, self._semantic
        return TokenGroup(
            (first.popleft(), first.popleft()),
            (second.popleft(), second.popleft(), second.popleft()),
        )


def interleave(linguistic: Iterable[int], semantic: Iterable[int]) -> list[TokenGroup]:
    """Return the whole groups of two finished streams; the ragged end is dropped."""
    return Grouper().add(linguistic, semantic)
