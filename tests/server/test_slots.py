"""Places for requests: handed on in order, bounded, and apart from those of people who talk."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from server.admission.limits import ServerSettings, Slots
from server.http import errors
from server.routes.chat.route import chat_router
from server.routes.speech import speech_router
from server.voice_names import VoiceNames
from step_audio.core.errors import Overloaded
from step_audio.core.types import GenerationRequest
from step_audio.dialog.assistant import Assistant
from tests.fakes import VOCAB, ScriptedEngine, group, services
from tests.server.loopback import serving

SPEECH = VOCAB.ids([group(1), group(2)])
HELLO = {"model": "x", "input": "Hello.", "voice": "slt"}


async def test_slots_are_handed_on_in_order_and_none_is_lost() -> None:
    slots, order = Slots(2), list[int]()

    async def job(n: int) -> None:
        async with slots.wait():
            order.append(n)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for n in range(7):
            tasks.create_task(job(n))
    assert order == list(range(7))
    assert slots.taken == 0


async def test_chapters_wait_longer_for_a_place_than_questions() -> None:
    waits = list[float]()

    class Watched(Slots):
        @asynccontextmanager
        async def wait(self, timeout_s: float = 60.0) -> AsyncIterator[None]:
            waits.append(timeout_s)
            async with super().wait(timeout_s):
                yield

    assistant, settings = Assistant(services(ScriptedEngine([SPEECH]))), ServerSettings()
    names = VoiceNames(assistant, {})
    app = FastAPI()
    for router in (speech_router, chat_router):
        app.include_router(router(assistant, settings, Watched(1), names))
    with TestClient(app) as client:
        client.post("/v1/audio/speech", json=HELLO)
        client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hi."}]})
    assert waits == [600, 60]


async def test_giving_up_in_line_leaves_the_line() -> None:
    slots = Slots(1)
    with slots.take():
        waiting = asyncio.create_task(_hold(slots))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(Overloaded):
            async with slots.wait(timeout_s=0):
                pass
        with pytest.raises(Overloaded), slots.take():
            pass
    assert slots.taken == 0


async def test_the_line_is_bounded() -> None:
    slots = Slots(1, max_waiting=1)
    with slots.take():
        waiting = asyncio.create_task(_hold(slots))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="1 requests wait"):
            async with slots.wait():
                pass
    await waiting
    assert slots.taken == 0


def test_a_full_line_is_told_to_come_back_later() -> None:
    assistant, settings = Assistant(services(ScriptedEngine([SPEECH]))), ServerSettings()
    app, full = FastAPI(), Slots(1, max_waiting=0)
    errors.install(app)
    app.include_router(speech_router(assistant, settings, full, VoiceNames(assistant, {})))
    with full.take(), TestClient(app) as client:
        refused = client.post("/v1/audio/speech", json=HELLO)
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "overloaded"
    assert refused.headers["retry-after"] == "1"


class HeldEngine(ScriptedEngine):
    """Stops in the middle of every text until told to go on, from any thread."""

    def __init__(self) -> None:
        super().__init__([SPEECH])
        self.go_on = threading.Event()

    async def generate(self, request: GenerationRequest) -> AsyncIterator[int]:
        async for token_id in super().generate(request):
            yield token_id
            await asyncio.to_thread(self.go_on.wait, 30)


def test_texts_that_are_read_keep_no_person_out() -> None:
    engine = HeldEngine()
    with (
        serving(services(engine), None, ServerSettings(max_sessions=1)) as port,
        ThreadPoolExecutor(2) as readers,
    ):
        url, talk = f"http://127.0.0.1:{port}/v1/audio/speech", f"ws://127.0.0.1:{port}/v1/realtime"
        reads = [readers.submit(httpx.post, url, json=HELLO, timeout=60) for _ in range(2)]
        while not engine.requests:  # one is being read, the other waits in line
            time.sleep(0.01)
        with connect(talk) as person:
            assert json.loads(person.recv(10))["type"] == "session.created"
            with pytest.raises(InvalidStatus) as second:
                connect(talk)
            assert second.value.response.status_code == 503
        engine.go_on.set()
        assert [read.result().status_code for read in reads] == [200, 200]


async def _hold(slots: Slots) -> None:
    async with slots.wait():
        pass
