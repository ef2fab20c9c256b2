"""The vLLM engine against sockets that behave, fail, and fail in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import pytest

from step_audio.core.errors import (
    EngineError,
    EngineLost,
    EngineOverloaded,
    EngineRefused,
    EngineTimeout,
    EngineUnavailable,
    EngineUnreachable,
    InputError,
    TokenError,
)
from step_audio.core.types import BATCH, LIVE, GenerationRequest, SamplingParams
from step_audio.engine.vllm import VllmEngine
from tests.fake_vllm import FakeVllm, Fault
from tests.fakes import VOCAB, ByteTokenizer, text_ids

IDS = [1005, 1006, 2030, 2031, 2032]
EOT = VOCAB.eot


def request(
    prompt: tuple[int, ...] = (4, 301, 302),
    *,
    sampling: SamplingParams = SamplingParams(temperature=0.0, max_tokens=20),  # noqa: B008
    form: str | None = "answer",
    priority: int = LIVE,
    session: str = "",
) -> GenerationRequest:
    return GenerationRequest(
        prompt,
        sampling,
        frozenset({EOT}),
        "r1",
        form=form,  # type: ignore[arg-type]
        priority=priority,
        session=session,
    )


@asynccontextmanager
async def engine_of(
    *servers: FakeVllm, first_s: float = 20.0, next_s: float = 20.0
) -> AsyncIterator[VllmEngine]:
    """Start servers and give an engine over all of them."""
    async with AsyncExitStack() as stack:
        for server in servers:
            await stack.enter_async_context(server.running())
        engine = VllmEngine(
            [server.url for server in servers],
            "m",
            VOCAB,
            first_token_timeout_s=first_s,
            next_token_timeout_s=next_s,
            text_tokenizer=ByteTokenizer(),
        )
        stack.push_async_callback(engine.aclose)
        yield engine


async def ids_of(engine: VllmEngine, asked: GenerationRequest | None = None) -> list[int]:
    return [token_id async for token_id in engine.generate(asked or request())]


async def collect(engine: VllmEngine, into: list[int]) -> None:
    async for token_id in engine.generate(request(session="s")):
        into.append(token_id)


async def test_ids_come_up_to_the_stop_id() -> None:
    server = FakeVllm(answer=lambda body: [*IDS, EOT, 7, 7])
    async with engine_of(server) as engine:
        assert await ids_of(engine) == IDS


async def test_the_request_says_everything_the_server_needs() -> None:
    server = FakeVllm()
    sampling = SamplingParams(0.7, 0.9, 5, seed=3, max_tokens=500, repetition_window=10)
    async with engine_of(server) as engine:
        await ids_of(engine, request(sampling=sampling, form="speech", priority=BATCH))
    (body,) = server.answers
    assert body["prompt"] == [4, 301, 302]
    assert body["max_tokens"] == 64 - 3, "no more than the context has room for"
    assert (body["temperature"], body["top_p"], body["top_k"], body["seed"]) == (0.7, 0.9, 5, 3)
    assert body["stop_token_ids"] == [EOT]
    assert body["priority"] == BATCH
    assert body["vllm_xargs"]["form"] == "speech"
    assert body["vllm_xargs"]["audio_base"] == VOCAB.audio_base
    assert body["vllm_xargs"]["repetition_window"] == 10


async def test_a_server_without_our_rules_is_told_what_vllm_itself_knows() -> None:
    server = FakeVllm(rules=False, priority=False)
    async with engine_of(server) as engine:
        await ids_of(engine, request(form="speech", priority=BATCH))
    (body,) = server.answers
    assert "vllm_xargs" not in body
    assert "priority" not in body
    assert body["allowed_token_ids"] == [EOT, *range(VOCAB.audio_base, VOCAB.size)]


async def test_ids_are_found_again_in_the_text_of_a_server_without_ids() -> None:
    spelled = {id_: f"<audio_{id_ - VOCAB.audio_base}>" for id_ in IDS}
    words = text_ids("so <aud")
    script = [*words, *IDS]
    server = FakeVllm(
        answer=lambda body: script,
        ids=False,
        text=lambda id_: spelled.get(id_) or chr(id_ - 300),
    )
    async with engine_of(server) as engine:
        assert await ids_of(engine) == script


async def test_ready_asks_every_server_and_needs_one() -> None:
    one, two = FakeVllm(), FakeVllm()
    async with engine_of(one, two) as engine:
        assert await engine.ready()
        assert one.requests
        assert two.requests
    async with two.running():
        engine = VllmEngine([one.url, two.url], "m", VOCAB)
        assert await engine.ready(), "one is enough"
        await engine.aclose()
    engine = VllmEngine([one.url, two.url], "m", VOCAB)
    assert not await engine.ready()
    await engine.aclose()


async def test_a_server_with_another_model_is_not_ready_and_says_why() -> None:
    async with engine_of(FakeVllm(model="other")) as engine:
        assert not await engine.ready()
        with pytest.raises(EngineRefused, match=r"serves \['other'\], not 'm'"):
            await ids_of(engine)


async def test_an_id_outside_the_vocabulary_never_reaches_a_server() -> None:
    # vLLM 0.24 dies of one, and with it every other answer.
    server = FakeVllm()
    async with engine_of(server) as engine:
        for prompt in ((VOCAB.size,), (-1,)):
            with pytest.raises(TokenError):
                await ids_of(engine, request(prompt))
            with pytest.raises(TokenError):
                await engine.prefill(prompt, "s")
        with pytest.raises(InputError, match="empty"):
            await ids_of(engine, request(()))
    assert not server.requests


async def test_a_prompt_longer_than_the_context_is_refused_before_it_is_sent() -> None:
    server = FakeVllm(max_model_len=8)
    async with engine_of(server) as engine:
        assert len(await ids_of(engine, request((5,) * 7))) == 1
        with pytest.raises(InputError, match="takes at most 7"):
            await ids_of(engine, request((5,) * 8))
    assert len(server.answers) == 1


@pytest.mark.parametrize(
    "fault",
    [
        "status 503",
        "reset before the answer",
        "closed before the answer",
        "not http",
        "not json",
        "error event",
    ],
)
async def test_before_the_first_id_a_failure_is_asked_again(fault: Fault) -> None:
    alone = FakeVllm(faults=[fault])
    async with engine_of(alone) as engine:
        assert await ids_of(engine) == IDS
    assert len(alone.answers) == 2


@pytest.mark.parametrize("fault", ["no answer", "no first id"])
async def test_a_silent_server_costs_its_share_of_the_time_then_another_answers(
    fault: Fault,
) -> None:
    silent, well = FakeVllm(faults=[fault]), FakeVllm()
    async with engine_of(silent, well, first_s=2.0) as engine:
        assert await engine.ready()
        assert await ids_of(engine) == IDS
        assert await ids_of(engine) == IDS
    assert len(silent.answers) == 1, "it rests now"
    assert len(well.answers) == 2


async def test_no_first_id_from_anybody_is_said_in_time() -> None:
    async with engine_of(FakeVllm(faults=["no first id"] * 2), first_s=0.3) as engine:
        with pytest.raises(EngineUnavailable) as caught:
            await ids_of(engine)
    assert caught.value.waited_s > 0.2
    assert isinstance(caught.value, EngineTimeout)


async def test_a_dead_engine_is_told_from_a_slow_and_from_a_full_one() -> None:
    dead = FakeVllm()
    async with dead.running():
        pass  # its port is known and closed
    engine = VllmEngine([dead.url], "m", VOCAB)
    with pytest.raises(EngineUnreachable, match="cannot be reached"):
        await ids_of(engine)
    await engine.aclose()
    async with engine_of(FakeVllm(faults=["status 503"] * 4)) as engine:
        with pytest.raises(EngineOverloaded, match="no room"):
            await ids_of(engine)
    async with engine_of(FakeVllm(faults=["not json"] * 4)) as engine:
        with pytest.raises(EngineUnavailable, match="fails at every request") as caught:
            await ids_of(engine)
    assert caught.value.code == "engine_unavailable"


async def test_a_dead_server_loses_nobody_who_has_not_begun_to_speak() -> None:
    dead, well = FakeVllm(), FakeVllm()
    async with dead.running():
        pass  # its port is known and closed
    async with well.running():
        engine = VllmEngine([dead.url, well.url], "m", VOCAB)
        answers = await asyncio.gather(*(ids_of(engine) for _ in range(6)))
        await engine.aclose()
    assert answers == [IDS] * 6


@pytest.mark.parametrize(
    "fault",
    [
        "reset after ids",
        "closed after ids",
        "error after ids",
        "ends without reason",
        "stops after ids",
        "id out of range",
    ],
)
async def test_after_the_first_id_a_failure_ends_the_answer_cleanly(fault: Fault) -> None:
    broken, well = FakeVllm(faults=[fault]), FakeVllm()
    patience_s = 0.5 if fault == "stops after ids" else 20.0
    async with engine_of(broken, well, next_s=patience_s) as engine:
        got: list[int] = []
        with pytest.raises(EngineLost):
            await collect(engine, got)
        assert got == IDS[:2], "what came is kept, nothing is said twice"
        assert await ids_of(engine, request(session="s")) == IDS
    assert len(broken.answers) == 1
    assert len(well.answers) == 1, "the next question goes elsewhere"


async def test_a_refusal_is_not_asked_again_and_the_next_request_is_served() -> None:
    # vLLM resets the next request on a connection that saw a 400; there is no next one on it.
    server, other = FakeVllm(faults=["status 400"]), FakeVllm()
    async with engine_of(server, other) as engine:
        with pytest.raises(EngineRefused, match="as told"):
            await ids_of(engine)
        assert await ids_of(engine) == IDS
    assert len(server.answers) + len(other.answers) == 2


async def test_a_server_that_wants_another_key_is_passed_over() -> None:
    locked, well = FakeVllm(faults=["status 401"]), FakeVllm()
    async with engine_of(locked, well) as engine:
        assert await ids_of(engine) == IDS


async def test_the_key_is_shown() -> None:
    server = FakeVllm(api_key="k3y")
    async with server.running():
        engine = VllmEngine([server.url], "m", VOCAB, api_key="k3y")
        assert await ids_of(engine) == IDS
        await engine.aclose()


async def test_closing_the_iterator_aborts_the_request() -> None:
    server = FakeVllm(answer=lambda body: IDS * 10, pause_s=0.05)
    async with engine_of(server) as engine:
        async with aclosing(engine.generate(request())) as ids:
            assert await anext(ids) == IDS[0]
        async with asyncio.timeout(2):
            await server.left.wait()
    assert server.aborted == ["r1-0"]


async def test_cancelling_before_the_first_id_aborts_too() -> None:
    server = FakeVllm(faults=["no first id"])
    async with engine_of(server, first_s=30) as engine:
        await engine.ready()
        task = asyncio.create_task(ids_of(engine))
        async with asyncio.timeout(2):
            await server.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_session_stays_where_its_prefix_is() -> None:
    one, two = FakeVllm(), FakeVllm()
    async with engine_of(one, two) as engine:
        for _ in range(3):
            for session in ("a", "b"):
                await ids_of(engine, request(session=session))
    assert sorted([len(one.answers), len(two.answers)]) == [3, 3]


async def test_a_prefill_goes_where_the_question_will_and_never_fails() -> None:
    one, two = FakeVllm(), FakeVllm()
    async with engine_of(one, two) as engine:
        await engine.prefill((4, 301, 302), "s")
        await ids_of(engine, request((4, 301, 302, 303), session="s"))
        warm = [server for server in (one, two) if server.answers]
        (server,) = warm
        hint = next(body for body in server.requests if body["prompt"] == [4, 301, 302])
        assert hint["max_tokens"] == 1
        assert hint["priority"] > LIVE
    await engine.prefill((4,), "s")


async def test_a_request_for_no_ids_only_fills_the_cache() -> None:
    server = FakeVllm()
    async with engine_of(server) as engine:
        assert await ids_of(engine, request(sampling=SamplingParams(max_tokens=0))) == []
    assert not server.answers
    assert server.requests


async def test_a_closed_engine_says_so() -> None:
    async with engine_of(FakeVllm()) as engine:
        await engine.aclose()
        with pytest.raises(EngineError, match="closed"):
            await ids_of(engine)


async def test_a_server_that_was_restarted_serves_again() -> None:
    server = FakeVllm()
    async with server.running():
        engine = VllmEngine([server.url], "m", VOCAB, first_token_timeout_s=20)
        assert await ids_of(engine) == IDS
    with pytest.raises(EngineUnavailable):
        await ids_of(engine)
    server.rules = False
    async with server.running():
        assert await ids_of(engine, request(form="speech")) == IDS
        assert "allowed_token_ids" in server.answers[-1], "what it can do was found out anew"
    await engine.aclose()


def probes(server: FakeVllm) -> int:
    return sum(not body.get("stream") for body in server.requests)


@pytest.mark.parametrize("fault", ["status 503", "no first id", "error after ids"])
async def test_a_server_that_is_full_or_late_is_not_probed_again(fault: Fault) -> None:
    """B17: each request that failed cost an overloaded server four more."""
    server = FakeVllm()
    async with engine_of(server, first_s=0.5) as engine:
        assert await ids_of(engine) == IDS
        asked = probes(server)
        server.faults = [fault] * 4
        for _ in range(2):
            with pytest.raises(EngineError):
                await ids_of(engine)
        server.faults = []
        assert await ids_of(engine) == IDS
    assert probes(server) == asked


async def test_a_server_that_was_away_is_probed_when_it_is_back() -> None:
    server = FakeVllm()
    async with engine_of(server) as engine:
        assert await ids_of(engine) == IDS
        asked = probes(server)
        server.faults = ["reset before the answer"]
        assert await ids_of(engine) == IDS
    assert probes(server) == 2 * asked


async def test_requests_that_come_together_probe_once() -> None:
    server = FakeVllm()
    async with engine_of(server) as engine:
        await ids_of(engine)
        asked = probes(server)
        server.faults = ["reset before the answer"] * 5
        assert await asyncio.gather(*(ids_of(engine) for _ in range(5))) == [IDS] * 5
    assert probes(server) <= 2 * asked
