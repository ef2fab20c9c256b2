"""Messages of one client that wait to be carried out.

They are taken off the socket as they come, so that a socket that closes is noticed at once,
whatever the session is busy with. The inbox is bounded; a client that sends more
is not read from meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

MAX_MESSAGES: Final = 64


class Inbox:
    """A queue bounded by messages and by bytes.

    Args:
        max_bytes: so much may wait before the next message; one message may be longer.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._messages: deque[tuple[str | None, int]] = deque()
        self._bytes = 0
        self._filled, self._room = asyncio.Event(), asyncio.Event()
        self._room.set()

    async def room(self) -> None:
        """Wait until one more message may be put in."""
        await self._room.wait()

    def put(self, text: str | None, size: int) -> None:
        """Add a message of `size` bytes; None stands for one that is no text."""
        self._messages.append((text, size))
        self._bytes += size
        self._filled.set()
        if len(self._messages) >= MAX_MESSAGES or self._bytes >= self._max_bytes:
            self._room.clear()

    async def take(self) -> str | None:
        """Return the oldest message, waiting for one."""
        while not self._messages:
            self._filled.clear()
            await self._filled.wait()
        text, size = self._messages.popleft()
        self._bytes -= size
        if len(self._messages) < MAX_MESSAGES and self._bytes < self._max_bytes:
            self._room.set()
        return text
