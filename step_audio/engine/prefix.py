"""KV caches of finished sequences, found again by the longest common prefix of their ids.

A conversation sends its whole history with every turn; what was computed before is copied.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from step_audio.engine.decoder import KvCache


class PrefixCache:
    """Bounded store of caches, least recently used out first. One thread only."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: list[tuple[NDArray[np.int64], KvCache]] = []  # oldest first

    @property
    def nbytes(self) -> int:
        """Memory held by the stored caches."""
        return sum(cache.nbytes for _, cache in self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, ids: Sequence[int], room: int = 0) -> KvCache | None:
        """Return a copy of what is known of the start of `ids`, or None when nothing is.

        Args:
            ids: at most this prefix is returned; its length is the copy's `length`.
            room: positions that the caller will add.
        """
        wanted = np.asarray(ids, dtype=np.int64)
        best, found = 0, -1
        for number, (known, _) in enumerate(self._entries):
            common = _common_prefix(known, wanted)
            if common > best:
                best, found = common, number
        if found < 0:
            return None
        entry = self._entries.pop(found)
        self._entries.append(entry)
        return entry[1].copy(best, room)

    def store(self, ids: Sequence[int], cache: KvCache) -> None:
        """Keep a finished cache, whose positions hold exactly `ids`; the caller gives it up."""
        new = np.asarray(ids, dtype=np.int64)
        if not len(new) or cache.nbytes > self._max_bytes:
            return
        for number, (known, _) in enumerate(self._entries):
            if _common_prefix(known, new) == len(new):  # a longer one says it all
                self._entries.append(self._entries.pop(number))
                return
        self._entries = [
            entry for entry in self._entries if _common_prefix(entry[0], new) < len(entry[0])
        ]
        self._entries.append((new, cache))
        while self.nbytes > self._max_bytes:
            self._entries.pop(0)


def _common_prefix(a: NDArray[np.int64], b: NDArray[np.int64]) -> int:
    length = min(len(a), len(b))
    differs = a[:length] != b[:length]
    return int(differs.argmax()) if differs.any() else length
