"""Events on their way to one client: ordered, bounded, and silenced at one place."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import count
from secrets import token_hex
from typing import Any

from server.realtime.wire.versions.version import Ga, ProtocolVersion

_SOUND = "response.output_audio.delta"


class SendQueue:
    """A queue whose producers ask for room before they make events, and then never wait.

    So a group of events that belongs together is never half sent, even when its producer is
    cancelled. The bound is overshot by what two producers make of one input each.

    Attributes:
        shape: the dialect in which events leave; GA until told otherwise.
    """

    def __init__(self, limit: int = 64) -> None:
        self.version: ProtocolVersion = Ga()
        self._limit = limit
        self._name, self._numbers = token_hex(8), count(1)
        self._events: deque[dict[str, Any]] = deque()
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def __len__(self) -> int:
        """Events that wait."""
        return len(self._events)

    async def room(self) -> None:
        """Wait until the client has taken enough."""
        await self._room.wait()

    def send(self, event: dict[str, Any]) -> None:
        """Queue an event under a fresh id."""
        event_id = f"event_{self._name}{next(self._numbers):08x}"
        self._events.append({"event_id": event_id, **event})
        self._filled.set()
        if len(self._events) >= self._limit:
            self._room.clear()

    def silence(self, response_id: str) -> int:
        """Drop the sound of a response that was not yet sent; return how many bytes it was."""
        kept: deque[dict[str, Any]] = deque()
        dropped = 0
        for event in self._events:
            if event["type"] == _SOUND and event["response_id"] == response_id:
                dropped += len(event["delta"])
            else:
                kept.append(event)
        self._events = kept
        self._make_room()
        return dropped * 3 // 4

    async def take(self) -> dict[str, Any]:
        """Return the next event in the client's shape, waiting for one."""
        while True:
            while not self._events:
                self._filled.clear()
                await self._filled.wait()
            event = self.version.outward(self._events.popleft())
            self._make_room()
            if event is not None:
                return event

    def _make_room(self) -> None:
        if len(self._events) < self._limit:
            self._room.set()
