"""A session host with fakes at its seams: a socket, a place, a tokenizer that waits."""

import asyncio
import base64
import copy
import json
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
from starlette.types import Message
from starlette.websockets import WebSocketDisconnect

from server.admission.limits import ServerSettings
from server.admission.place import Place
from server.observability.watch import Watches
from server.realtime.connection.registry import SessionRegistry
from server.realtime.connection.session_host import SessionHost
from step_audio.core.audio import float_to_pcm16
from step_audio.core.errors import AudioError
from step_audio.core.ports import AudioTokenizer, Stage
from step_audio.core.types import Pcm, TokenGroup
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.settings import DialogSettings
from tests.fakes import (
    VOCAB,
    CountingTokenizer,
    MemoryRecorder,
    ScriptedEngine,
    group,
    services,
    text_ids,
)
from tokenizer.vad import EnergyTurnDetector

ANSWER = interleave(text_ids("It is noon."), [group(n) for n in range(3)], VOCAB)


def turns(count: int) -> str:
    """Return so many spoken turns of 0.6 s with pauses around, as base64."""
    rng = np.random.default_rng(0)
    turn = [np.zeros(7200), 0.3 * rng.uniform(-1, 1, 14400), np.zeros(24000)]
    pcm = np.tile(np.concatenate(turn).astype(np.float32), count)
    return base64.b64encode(float_to_pcm16(pcm)).decode()


class HeldTokenizer(CountingTokenizer):
    """Hears nothing before `gate` is set; the pushes of the numbers in `fails` raise AudioError."""

    def __init__(self, fails: frozenset[int] = frozenset()) -> None:
        self.gate, self.pushes, self._fails = threading.Event(), 0, fails

    def open(self) -> Stage[Pcm, TokenGroup]:
        return _HeldStage(self, super().open())

    def heard(self) -> None:
        self.gate.wait(30)
        self.pushes += 1
        if self.pushes in self._fails:
            raise AudioError("this piece cannot be heard")


class _HeldStage:
    def __init__(self, owner: HeldTokenizer, stage: Stage[Pcm, TokenGroup]) -> None:
        self._owner, self._stage = owner, stage

    def __deepcopy__(self, memo: dict[int, Any]) -> "_HeldStage":
        return _HeldStage(self._owner, copy.deepcopy(self._stage, memo))

    def push(self, item: Pcm, /) -> Iterable[TokenGroup]:
        self._owner.heard()
        return self._stage.push(item)

    def flush(self) -> Iterable[TokenGroup]:
        return self._stage.flush()


class FakeSocket:
    """What the host needs of a websocket. `breaks_at`: an event that the network does not take."""

    def __init__(self, breaks_at: str = "") -> None:
        self._in: asyncio.Queue[Message] = asyncio.Queue()
        self._breaks_at = breaks_at
        self.sent: list[dict[str, Any]] = []
        self._news = asyncio.Event()

    def put(self, kind: str, **fields: Any) -> None:
        text = json.dumps({"type": kind, **fields})
        self._in.put_nowait({"type": "websocket.receive", "text": text})

    def leave(self, code: int) -> None:
        self._in.put_nowait({"type": "websocket.disconnect", "code": code})

    async def receive(self) -> Message:
        return await self._in.get()

    async def send_text(self, text: str) -> None:
        event = json.loads(text)
        if event["type"] == self._breaks_at:
            raise WebSocketDisconnect(1006)
        self.sent.append(event)
        self._news.set()

    def kinds(self) -> list[str]:
        return [event["type"] for event in self.sent]

    async def until(self, kind: str, times: int = 1) -> dict[str, Any]:
        """Return the newest event once so many of a kind were sent."""
        async with asyncio.timeout(20):
            while self.kinds().count(kind) < times:
                self._news.clear()
                await self._news.wait()
        return next(event for event in reversed(self.sent) if event["type"] == kind)


class Room:
    """One host in a registry, and whether its place is free."""

    def __init__(
        self,
        settings: ServerSettings | None = None,
        recorder: MemoryRecorder | None = None,
        *,
        resumable: bool = False,
        tokenizer: AudioTokenizer | None = None,
        engine: ScriptedEngine | None = None,
        dialog: DialogSettings | None = None,
    ) -> None:
        parts = replace(
            services(engine or ScriptedEngine([ANSWER])),
            turn_detector=EnergyTurnDetector(),
            recorder=recorder or MemoryRecorder(),
            audio_tokenizer=tokenizer or CountingTokenizer(),
        )
        self.assistant = Assistant(parts, dialog or DialogSettings())
        self.registry, self.held = SessionRegistry(), 0
        place = Place(self._admit)
        place.take()
        self.host = SessionHost(
            self.assistant, settings or ServerSettings(), Watches([]), place, resumable=resumable
        )
        self.registry.begin(self.host)

    def _admit(self, stack: ExitStack) -> None:
        self.held += 1
        stack.callback(self._freed)

    def _freed(self) -> None:
        self.held -= 1

    async def serve(self, socket: FakeSocket) -> int | None:
        async with asyncio.timeout(20):
            return await self.host.serve(socket)  # type: ignore[arg-type]

    async def ended(self) -> None:
        """Wait until the session has ended and its task has been seen."""
        async with asyncio.timeout(20):
            await self.host.finished.wait()
        for _ in range(3):  # its task ends, and the registry is told
            await asyncio.sleep(0)
        assert len(self.registry) == 0
        await self.assistant.aclose()
