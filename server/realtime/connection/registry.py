"""The sessions of one server."""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import ExitStack

from server.realtime.connection.session_host import SessionHost

_LOG = logging.getLogger(__name__)


class SessionRegistry:
    """The sessions of one server."""

    def __init__(self) -> None:
        self._lines: dict[SessionHost, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def begin(self, line: SessionHost, held: ExitStack) -> None:
        """Start a session. What it breaks with is logged."""
        task = asyncio.create_task(line.run(held), name="session")
        self._lines[line] = task
        task.add_done_callback(lambda done: self._ended(line, done))

    def find(self, token: str) -> SessionHost | None:
        """Return the session of a token."""
        found: SessionHost | None = None
        for line in self._lines:
            if line.token is not None and secrets.compare_digest(line.token, token):
                found = line
        return found

    def all(self) -> list[SessionHost]:
        """Return all sessions."""
        return list(self._lines)

    async def close(self) -> None:
        """End all sessions."""
        tasks = list(self._lines.values())
        for line in self._lines:
            line.end()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=5.0)
            for task in stuck:
                task.cancel()

    def _ended(self, line: SessionHost, done: asyncio.Task[None]) -> None:
        del self._lines[line]
        if not done.cancelled() and (error := done.exception()) is not None:
            _LOG.error("realtime session failed", exc_info=error)
