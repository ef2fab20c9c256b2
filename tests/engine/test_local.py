"""The engine port: streams in an event loop, abort by closing, errors, threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace

import pytest
from torch import Tensor

from step_audio.core.errors import EngineError, EngineUnavailable, InputError, Overloaded
from step_audio.core.ports import Engine
from step_audio.core.types import GenerationRequest, SamplingParams
from step_audio.engine.decoder import Step1Decoder
from step_audio.engine.local import LocalEngine

ENDLESS = GenerationRequest((1, 2, 3), SamplingParams(0.0, max_tokens=400), frozenset(), "test")
SHORT = replace(ENDLESS, sampling=SamplingParams(0.0, max_tokens=24))


@pytest.fixture
async def engine(decoder: Step1Decoder) -> AsyncIterator[LocalEngine]:
    made = LocalEngine(decoder, max_streams=2)
    yield made
    await made.aclose()


async def collect(engine: Engine, request: GenerationRequest) -> list[int]:
    return [token_id async for token_id in engine.generate(request)]


async def test_greedy_ids_equal_the_reference(engine: LocalEngine, data: dict[str, Tensor]) -> None:
    prompt = tuple(data["greedy.prompt"].tolist())
    got = await collect(engine, replace(SHORT, prompt=prompt))
    assert [*prompt, *got] == data["greedy.ids"].tolist()


async def test_more_streams_than_rows_all_end_equal(engine: LocalEngine) -> None:
    want = await collect(engine, SHORT)
    got = await asyncio.gather(*(collect(engine, SHORT) for _ in range(5)))
    assert got == [want] * 5


async def test_closing_the_iterator_aborts(
    decoder: Step1Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LocalEngine(decoder)
    steps = 0
    extend = decoder.extend

    def counted(ids: Tensor, caches: list[object]) -> Tensor:
        nonlocal steps
        steps += 1
        return extend(ids, caches)  # type: ignore[arg-type]

    monkeypatch.setattr(decoder, "extend", counted)
    stream = engine.generate(ENDLESS)
    async with aclosing(stream):
        await anext(stream)
    at_close = steps
    await asyncio.sleep(0.1)
    assert steps <= at_close + 1
    assert await collect(engine, replace(SHORT, prompt=(9,)))  # the row is free again
    await engine.aclose()


async def test_cancelling_the_consumer_aborts(engine: LocalEngine) -> None:
    started = asyncio.Event()

    async def consume() -> None:
        async with aclosing(engine.generate(ENDLESS)) as stream:
            async for _ in stream:
                started.set()

    task = asyncio.create_task(consume())
    await asyncio.wait_for(started.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await collect(engine, SHORT)


async def test_a_slow_consumer_gets_everything_through_a_small_queue(decoder: Step1Decoder) -> None:
    want = await collect(LocalEngine(decoder), SHORT)
    engine = LocalEngine(decoder, backlog=2)
    got = []
    async for token_id in engine.generate(SHORT):
        await asyncio.sleep(0.002)
        got.append(token_id)
    await engine.aclose()
    assert got == want


async def test_consumers_that_stop_taking_keep_nobody_from_the_engine(
    decoder: Step1Decoder,
) -> None:
    """B13: as many dropped clients as there are rows blocked the engine."""
    engine = LocalEngine(decoder, max_streams=2, backlog=4)
    want = await collect(engine, SHORT)
    async with AsyncExitStack() as gone:
        streams = [engine.generate(ENDLESS) for _ in range(2)]
        for stream in streams:
            await gone.enter_async_context(aclosing(stream))
            await anext(stream)
        async with asyncio.timeout(20):
            assert await collect(engine, SHORT) == want
        # One comes back, and its answer goes on as if it had never stopped.
        rest = [token_id async for token_id in streams[0]]
    assert rest[: len(want) - 1] == want[1:]
    await engine.aclose()


async def test_a_warm_up_leaves_the_answer_unchanged(engine: LocalEngine) -> None:
    want = await collect(engine, SHORT)
    await engine.prefill(SHORT.prompt[:2], "s")
    await engine.prefill(SHORT.prompt, "s")
    assert await collect(engine, SHORT) == want


async def test_a_request_that_cannot_be_served_is_refused(engine: LocalEngine) -> None:
    with pytest.raises(InputError, match="at most 511"):
        await collect(engine, replace(SHORT, prompt=(1,) * 600))


async def test_more_than_the_queue_holds_is_refused(decoder: Step1Decoder) -> None:
    engine = LocalEngine(decoder, max_streams=1, max_waiting=0)
    stream = engine.generate(ENDLESS)
    async with aclosing(stream):
        await anext(stream)
        with pytest.raises(Overloaded):
            await collect(engine, SHORT)
    assert await collect(engine, SHORT)
    await engine.aclose()


async def test_no_first_token_in_time_is_said(
    decoder: Step1Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr(decoder, "extend", lambda ids, caches: release.wait(10))
    engine = LocalEngine(decoder, first_token_timeout_s=0.05)
    with pytest.raises(EngineUnavailable, match="no token from the local engine"):
        await collect(engine, SHORT)
    release.set()
    await engine.aclose()


async def test_a_broken_model_is_an_engine_error(
    decoder: Step1Decoder, monkeypatch: pytest.MonkeyPatch, engine: LocalEngine
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(decoder, "extend", None)
        with pytest.raises(EngineError, match="failed while generating"):
            await collect(engine, SHORT)
    assert await collect(engine, SHORT)


async def test_closing_the_engine_ends_open_streams(decoder: Step1Decoder) -> None:
    engine = LocalEngine(decoder)
    assert await engine.ready()
    stream = engine.generate(ENDLESS)
    await anext(stream)
    await engine.aclose()
    with pytest.raises(EngineError, match="closed"):
        async for _ in stream:
            pass
    assert not await engine.ready()
    with pytest.raises(EngineError, match="closed"):
        await collect(engine, SHORT)
