"""Leaving with manners: nobody new, let everybody finish what is being said, then close."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from server.realtime.connection.registry import SessionRegistry

_LOG = logging.getLogger(__name__)

_LOOK_S = 0.05


class Drain:
    """The end of one server.

    Args:
        limit_s: an answer that lasts longer is cut off.
    """

    def __init__(self, lines: SessionRegistry, limit_s: float) -> None:
        self._lines, self._limit_s = lines, limit_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self.begun = False

    def watch(self) -> None:
        """Remember the loop in which the sessions run."""
        self._loop = asyncio.get_running_loop()

    def begin(self, then: Callable[[], None]) -> None:
        """Begin, from any thread or signal handler; `then` is called when all have left."""
        if self.begun:
            return
        self.begun = True
        if self._loop is None:
            then()
        else:
            self._loop.call_soon_threadsafe(self._start, then)

    def _start(self, then: Callable[[], None]) -> None:
        self._task = asyncio.create_task(self._run(then), name="drain")

    async def _run(self, then: Callable[[], None]) -> None:
        _LOG.info("draining", extra={"sessions": len(self._lines)})
        try:
            async with asyncio.timeout(self._limit_s):
                while len(self._lines):
                    for line in self._lines.all():
                        if not line.busy:
                            line.end()
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            _LOG.warning("answers cut off", extra={"sessions": len(self._lines)})
        await self._lines.close()
        then()
