"""A session and its socket: whatever ends one, nothing of it stays behind."""

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from server.admission.limits import ServerSettings
from tests.fakes import MemoryRecorder
from tests.server.realtime.hosting import FakeSocket, HeldTokenizer, Room, turns


class Broken(MemoryRecorder):
    """Raises when a session has been idle for too long: a session that breaks."""

    def observe(self, name: str, value: float) -> None:
        if name == "guard_stops.idle":
            raise RuntimeError("a bug")
        super().observe(name, value)


async def test_a_session_that_breaks_is_finished_and_its_place_is_free() -> None:
    """B5: whoever waited for its end waited for ever, and so did the server's stop."""
    room = Room(ServerSettings(idle_timeout_s=0.05), Broken())
    assert await room.serve(FakeSocket()) == 1011
    await room.ended()
    assert room.held == 0


@pytest.fixture
def unheard() -> Callable[[asyncio.AbstractEventLoop], list[dict[str, Any]]]:
    """Return a collector of what an event loop says of errors that nobody handled."""

    def collect(loop: asyncio.AbstractEventLoop) -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: seen.append(context))
        return seen

    return collect


@pytest.mark.filterwarnings("error")
async def test_an_append_ends_with_its_session(
    unheard: Callable[[asyncio.AbstractEventLoop], list[dict[str, Any]]],
) -> None:
    """B6: it went on to hear, and made a task for a session that had ended."""
    errors = unheard(asyncio.get_running_loop())
    room, before = Room(), asyncio.all_tasks()
    socket = FakeSocket(breaks_at="input_audio_buffer.speech_started")
    socket.put("input_audio_buffer.append", audio=turns(12))
    assert await room.serve(socket) is None
    await room.ended()
    assert room.held == 0
    assert asyncio.all_tasks() <= before
    gc.collect()  # a coroutine that was never awaited warns now
    assert errors == []


async def test_a_socket_that_closes_is_noticed_while_an_append_is_heard() -> None:
    """B14: nothing was read meanwhile, so the place was held until all of it was heard."""
    tokenizer = HeldTokenizer()
    room, socket = Room(tokenizer=tokenizer), FakeSocket()
    for _ in range(3):
        socket.put("input_audio_buffer.append", audio=turns(3))
    socket.leave(1006)
    assert await room.serve(socket) is None
    assert room.held == 0
    await room.ended()
    tokenizer.gate.set()


async def test_a_dropped_session_that_may_be_resumed_holds_no_place() -> None:
    """B14."""
    room, socket = Room(resumable=True), FakeSocket()
    socket.leave(1006)
    assert await room.serve(socket) is None
    assert room.held == 0
    assert not room.host.finished.is_set()
    room.host.end()
    await room.ended()
