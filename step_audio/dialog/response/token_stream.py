"""Ids from an engine under time limits, closed whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from step_audio.core.errors import EngineTimeout
from step_audio.core.ports import Engine
from step_audio.core.types import GenerationRequest


@dataclass(frozen=True, slots=True)
class TokenTimeouts:
    """How long to wait for the engine: for its first id, and for each one after."""

    first_s: float = 10.0
    next_s: float = 10.0


async def generate(
    engine: Engine, request: GenerationRequest, patience: TokenTimeouts
) -> AsyncGenerator[int, None]:
    """Yield the ids of one request.

    Closing this generator, or cancelling the task that reads it, aborts the request.

    Raises:
        EngineTimeout: an id did not come in time; the request was aborted.
        EngineError: whatever the engine raised.
    """
    ids: AsyncIterator[int] = engine.generate(request)
    wait_s = patience.first_s
    try:
        while True:
            try:
                async with asyncio.timeout(wait_s):
                    token_id = await anext(ids)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise EngineTimeout("the engine", wait_s) from None
            yield token_id
            wait_s = patience.next_s
    finally:
        if isinstance(ids, AsyncGenerator):
            await ids.aclose()
