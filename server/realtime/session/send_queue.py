"""Events on their way to one client: ordered, bounded, silenced at one place, and kept a while."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import count
from secrets import token_hex
from typing import Any, Final

from server.http.errors import RequestError
from server.realtime.wire.versions.version import Ga, ProtocolVersion

SOUND = "response.output_audio.delta"
MAX_KEPT_BYTES: Final = 8 << 20
"""Two minutes of sound."""


class SendQueue:
    """A queue whose producers ask for room before they make events, and then never wait.

    So a group of events that belongs together is never half sent, even when its producer is
    cancelled. The bound is overshot by what two producers make of one input each.

    Attributes:
        version: the protocol version in which events leave; GA until told otherwise.
    """

    def __init__(self, limit: int = 64) -> None:
        self.version: ProtocolVersion = Ga()
        self._limit = limit
        self._name, self._numbers = token_hex(8), count(1)
        self._events: deque[tuple[dict[str, Any], Callable[[], None] | None]] = deque()
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def __len__(self) -> int:
        """Events that wait."""
        return len(self._events)

    async def room(self) -> None:
        """Wait until the client has taken enough."""
        await self._room.wait()

    def send(self, event: dict[str, Any], on_taken: Callable[[], None] | None = None) -> None:
        """Queue an event under a fresh id; `on_taken` is called when it goes to the socket."""
        event_id = f"event_{self._name}{next(self._numbers):08x}"
        self._events.append(({"event_id": event_id, **event}, on_taken))
        self._filled.set()
        if len(self._events) >= self._limit:
            self._room.clear()

    def silence(self, response_id: str) -> int:
        """Drop the sound of a response that was not yet sent; return how many bytes it was."""
        kept: deque[tuple[dict[str, Any], Callable[[], None] | None]] = deque()
        dropped = 0
        for event, on_taken in self._events:
            if event["type"] == SOUND and event["response_id"] == response_id:
                dropped += len(event["delta"])
            else:
                kept.append((event, on_taken))
        self._events = kept
        self._make_room()
        return dropped * 3 // 4

    async def take(self) -> dict[str, Any]:
        """Return the next event in the client's shape, waiting for one."""
        while True:
            while not self._events:
                self._filled.clear()
                await self._filled.wait()
            queued, on_taken = self._events.popleft()
            event = self.version.outward(queued)
            self._make_room()
            if event is None:
                continue
            if on_taken is not None:
                on_taken()
            return event

    def _make_room(self) -> None:
        if len(self._events) < self._limit:
            self._room.set()


class ReplayBuffer:
    """The newest events as they went over the wire, for a client that lost its socket."""

    def __init__(self) -> None:
        self._events: deque[tuple[str, str]] = deque()
        self._bytes = 0

    def add(self, event_id: str, text: str) -> None:
        """Keep an event, and forget the oldest that are too much."""
        self._events.append((event_id, text))
        self._bytes += len(text)
        while self._bytes > MAX_KEPT_BYTES:
            self._bytes -= len(self._events.popleft()[1])

    def after(self, event_id: str) -> list[str]:
        """Return what was sent after an event. Raises RequestError: it is not known."""
        ids = [known for known, _ in self._events]
        if event_id not in ids:
            raise RequestError("that event is too old to resume after it", code="resume_failed")
        return [text for _, text in list(self._events)[ids.index(event_id) + 1 :]]
