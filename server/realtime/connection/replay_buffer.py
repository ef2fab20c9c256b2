"""Events that were sent, kept for a client that lost its socket: it may ask for them again."""

from __future__ import annotations

from collections import deque
from typing import Final

from server.http.errors import RequestError

MAX_BYTES: Final = 8 << 20
"""Two minutes of sound."""


class ReplayBuffer:
    """The newest events as they went over the wire."""

    def __init__(self) -> None:
        self._events: deque[tuple[str, str]] = deque()
        self._bytes = 0

    def add(self, event_id: str, text: str) -> None:
        """Keep an event, and forget the oldest that are too much."""
        self._events.append((event_id, text))
        self._bytes += len(text)
        while self._bytes > MAX_BYTES:
            self._bytes -= len(self._events.popleft()[1])

    def after(self, event_id: str) -> list[str]:
        """Return what was sent after an event. Raises RequestError: it is not known."""
        ids = [known for known, _ in self._events]
        if event_id not in ids:
            raise RequestError("that event is too old to resume after it", code="resume_failed")
        return [text for _, text in list(self._events)[ids.index(event_id) + 1 :]]
