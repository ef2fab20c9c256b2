"""What a model writes, under time limits, closed whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import TypeVar

from step_audio.core.errors import EngineTimeout
from step_audio.core.ports import Engine
from step_audio.core.types import GenerationRequest

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TokenTimeouts:
    """How long to wait for the engine: for its first id, and for each one after."""

    first_s: float = 10.0
    next_s: float = 10.0


def generate(
    engine: Engine, request: GenerationRequest, patience: TokenTimeouts
) -> AsyncGenerator[int, None]:
    """Yield the ids of one request, as `in_time` does."""
    return in_time(engine.generate(request), patience)


async def in_time(
    written: AsyncIterator[T], patience: TokenTimeouts, where: str = "the engine"
) -> AsyncGenerator[T, None]:
    """Yield what a model writes for one request: ids, or events of a chat model.

    Closing this generator, or cancelling the task that reads it, aborts the request.

    Raises:
        EngineTimeout: something did not come in time; the request was aborted.
        EngineError: whatever the engine raised.
    """
    wait_s = patience.first_s
    try:
        while True:
            try:
                async with asyncio.timeout(wait_s):
                    piece = await anext(written)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise EngineTimeout(where, wait_s) from None
            yield piece
            wait_s = patience.next_s
    finally:
        if isinstance(written, AsyncGenerator):
            await written.aclose()
