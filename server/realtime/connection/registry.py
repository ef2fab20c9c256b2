"""The sessions of one server."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Final

from server.realtime.connection.session_host import SessionHost

_LOG = logging.getLogger(__name__)

MAX_ABSENT: Final = 64
"""Sessions without a socket that are kept for a resumption: they hold no place, only memory."""


class SessionRegistry:
    """The sessions of one server."""

    def __init__(self) -> None:
        self._registry: dict[SessionHost, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._registry)

    def begin(self, host: SessionHost) -> None:
        """Start a session. What it breaks with is logged.

        Those that have waited longest for their clients end when too many do.
        """
        absent = [waiting for waiting in self._registry if waiting.absent_s is not None]
        absent.sort(key=lambda waiting: waiting.absent_s or 0.0)
        for longest in absent[MAX_ABSENT - 1 :]:
            longest.end()
        task = asyncio.create_task(host.run(), name="session")
        self._registry[host] = task
        task.add_done_callback(lambda done: self._ended(host, done))

    def find(self, token: str) -> SessionHost | None:
        """Return the session of a token."""
        found: SessionHost | None = None
        for host in self._registry:
            if host.token is not None and secrets.compare_digest(host.token, token):
                found = host
        return found

    def all(self) -> list[SessionHost]:
        """Return all sessions."""
        return list(self._registry)

    async def close(self) -> None:
        """End all sessions."""
        tasks = list(self._registry.values())
        for host in self._registry:
            host.end()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=5.0)
            for task in stuck:
                task.cancel()

    def _ended(self, host: SessionHost, done: asyncio.Task[None]) -> None:
        del self._registry[host]
        if not done.cancelled() and (error := done.exception()) is not None:
            _LOG.error("realtime session failed", exc_info=error)
