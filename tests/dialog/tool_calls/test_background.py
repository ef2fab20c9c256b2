import asyncio
from collections.abc import Sequence

import pytest

from step_audio.core.errors import ToolError, ToolLate
from step_audio.core.ports import ToolSpec
from step_audio.core.types import ToolCall, ToolResult
from step_audio.dialog.tool_calls.background import (
    MAX_OPEN,
    Announcement,
    BackgroundCalls,
    LateResult,
)
from tests.fakes import FixedClock, MemoryRecorder

CALL = ToolCall("c1", "look", "{}")


class GatedTools:
    """Answers when told to; `boom` fails, `slow` is late, `ring` announces at once."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.running = 0
        self.most = 0

    def specs(self) -> Sequence[ToolSpec]:
        return ()

    async def call(self, call: ToolCall) -> ToolResult:
        if call.name == "boom":
            raise ToolError("no such luck")
        if call.name == "slow":
            raise ToolLate("too slow")
        if call.name == "ring":
            return ToolResult(call.call_id, call.name, "{}", 0.0, "Over.")
        self.running += 1
        self.most = max(self.most, self.running)
        await self.gate.wait()
        self.running -= 1
        return ToolResult(call.call_id, call.name, '{"ok":true}')


def background_calls(tools: GatedTools, recorder: MemoryRecorder | None = None) -> BackgroundCalls:
    return BackgroundCalls(
        tools, recorder or MemoryRecorder(), FixedClock(), lambda e: f"failed: {e}"
    )


async def test_calls_run_side_by_side() -> None:
    tools = GatedTools()
    kept = background_calls(tools)
    tasks = [kept.send(ToolCall(f"c{n}", "look", "{}")) for n in range(3)]
    assert not await kept.settled(tasks, 0.01)
    assert tools.most == 3
    tools.gate.set()
    assert await kept.settled(tasks, None)
    assert [task.result().call_id for task in tasks] == ["c0", "c1", "c2"]


async def test_a_failure_is_a_result_that_the_model_can_read() -> None:
    recorder = MemoryRecorder()
    kept = background_calls(GatedTools(), recorder)
    tasks = [kept.send(ToolCall("c1", name, "{}")) for name in ("boom", "slow")]
    await kept.settled(tasks, None)
    assert [task.result().output for task in tasks] == ["failed: no such luck", "failed: too slow"]
    assert [n for n, _ in recorder.seen if n != "tool_s"] == [
        "tool_calls.failed",
        "tool_calls.late",
    ]


async def test_a_deferred_result_is_news_when_it_comes() -> None:
    tools, woken = GatedTools(), asyncio.Event()
    kept = BackgroundCalls(tools, MemoryRecorder(), FixedClock(), str, wake=woken.set)
    task = kept.send(CALL)
    kept.defer(CALL, task)
    assert kept.take() is None
    assert kept.open == 1
    tools.gate.set()
    await asyncio.wait_for(woken.wait(), 5)
    assert kept.take() == LateResult(CALL, task.result())
    assert kept.take() is None
    assert kept.open == 0


async def test_deferring_what_has_ended_meanwhile_loses_nothing() -> None:
    tools = GatedTools()
    tools.gate.set()
    kept = background_calls(tools)
    task = kept.send(CALL)
    await kept.settled([task], None)
    kept.defer(CALL, task)
    await asyncio.sleep(0)
    assert kept.take() == LateResult(CALL, task.result())


async def test_cancelling_the_wait_leaves_the_call_going() -> None:
    tools = GatedTools()
    kept = background_calls(tools)
    task = kept.send(CALL)
    waiting = asyncio.create_task(kept.settled([task], None))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert not task.done()
    await kept.close()


async def test_a_timer_is_news_when_it_rings() -> None:
    woken = asyncio.Event()
    kept = BackgroundCalls(GatedTools(), MemoryRecorder(), FixedClock(), str, wake=woken.set)
    await kept.send(ToolCall("c1", "ring", "{}"))
    await asyncio.wait_for(woken.wait(), 5)
    assert kept.take() == Announcement("Over.")


async def test_closing_drops_calls_timers_and_news() -> None:
    kept = background_calls(GatedTools())
    task = kept.send(CALL)
    kept.defer(CALL, task)
    await kept.send(ToolCall("c2", "ring", "{}"))
    await kept.close()
    await asyncio.sleep(0)
    assert task.cancelled()
    assert (kept.take(), kept.open) == (None, 0)


async def test_more_than_so_many_at_a_time_fail() -> None:
    kept = background_calls(GatedTools())
    tasks = [kept.send(CALL) for _ in range(MAX_OPEN + 1)]
    result = await tasks[-1]
    assert "open" in result.output
    assert not any(task.done() for task in tasks[:-1])
    await kept.close()


class BrokenTools(GatedTools):
    """Raises what no tool should."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    async def call(self, call: ToolCall) -> ToolResult:
        raise self._error


@pytest.mark.parametrize("error", [asyncio.CancelledError(), ValueError("a bug")])
async def test_a_tool_that_cancels_itself_or_breaks_has_failed(error: BaseException) -> None:
    """B10: a cancelled future inside a client library looks like the end of our own task."""
    result = await background_calls(BrokenTools(error)).send(CALL)
    assert result == ToolResult("c1", "look", "failed: the tool broke off")


async def test_a_call_that_is_cancelled_by_us_ends_as_cancelled() -> None:
    task = background_calls(GatedTools()).send(CALL)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
