"""Synchronous stages off the event loop: one small thread pool for each kind of work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from step_audio.core.ports import Stage

T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")


class Worker:
    """Runs synchronous calls in its own threads, in the order they came.

    A stream awaits each call before the next, so its stage is never entered twice. With one
    thread (the default) two models never fight for the same cores.
    """

    def __init__(
        self,
        name: str,
        threads: int = 1,
        observe: Callable[[str, float], None] = lambda name, value: None,
    ) -> None:
        """Args: `observe` is told the length of the queue that a call meets."""
        self._name, self._observe, self._open = name, observe, 0
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, call: Callable[[], T]) -> T:
        """Return what `call` returns. Cancelling stops the wait, not a call that has begun."""
        self._observe(f"queue_depth.{self._name}", self._open)
        self._open += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, call)
        finally:
            self._open -= 1

    async def push(self, stage: Stage[In, Out], item: In) -> list[Out]:
        """Return everything that became ready; the work is done in the thread, not lazily."""
        return await self.run(lambda: list(stage.push(item)))

    async def flush(self, stage: Stage[In, Out]) -> list[Out]:
        """Return the rest of a stage."""
        return await self.run(lambda: list(stage.flush()))

    def close(self) -> None:
        """Drop what waits and let what runs finish."""
        self._pool.shutdown(wait=False, cancel_futures=True)
