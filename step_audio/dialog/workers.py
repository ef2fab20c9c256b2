"""Synchronous stages off the event loop: one small thread pool for each kind of work."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from step_audio.core.ports import Stage
from step_audio.core.types import LIVE

T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")


class WorkerThreads:
    """Runs synchronous calls in its own threads, in the order they came.

    A stream awaits each call before the next, so its stage is never entered twice. With one
    thread (the default) two models never fight for the same cores. Calls of a lower priority than
    `LIVE` are only begun while a thread is free, so that a long text never stands before a person
    by more than the one call that is being made.
    """

    def __init__(
        self,
        name: str,
        threads: int = 1,
        observe: Callable[[str, float], None] = lambda name, value: None,
    ) -> None:
        """Args: `observe` is told the length of the queue that a call meets."""
        self._name, self._threads, self._observe, self._open = name, threads, observe, 0
        self._patient: deque[asyncio.Future[None]] = deque()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, call: Callable[[], T], priority: int = LIVE) -> T:
        """Return what `call` returns.

        Cancelling stops the wait, not a call that has begun: its thread counts as busy until the
        call has ended.
        """
        self._observe(f"queue_depth.{self._name}", self._open + len(self._patient))
        if priority > LIVE:
            await self._free_thread()
        loop = asyncio.get_running_loop()
        begun = self._pool.submit(call)
        self._open += 1

        def ended(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(self._ended)

        begun.add_done_callback(ended)
        return await asyncio.wrap_future(begun)

    async def push(self, stage: Stage[In, Out], item: In, priority: int = LIVE) -> list[Out]:
        """Return everything that became ready; the work is done in the thread, not lazily."""
        return await self.run(lambda: list(stage.push(item)), priority)

    async def flush(self, stage: Stage[In, Out], priority: int = LIVE) -> list[Out]:
        """Return the rest of a stage."""
        return await self.run(lambda: list(stage.flush()), priority)

    def close(self) -> None:
        """Drop what waits and let what runs finish."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _free_thread(self) -> None:
        """Wait until a thread has nothing to do."""
        while self._open >= self._threads:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._patient.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self._wake()  # it may have been our turn
                raise

    def _ended(self) -> None:
        self._open -= 1
        self._wake()

    def _wake(self) -> None:
        """Let the next patient call look whether it may begin."""
        while self._patient and self._open < self._threads:
            turn = self._patient.popleft()
            if not turn.done():
                turn.set_result(None)
                return
