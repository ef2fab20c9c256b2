"""What every client has to do, and how it reports: sounds, a result, the raw conversation."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import traceback
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

RATE_HZ = 24_000
CHUNK_S = 0.1
FASTER = 4.0
"""Sound is sent this many times faster than it was spoken."""
TRIES = 6
"""An answer may be complete, or without sound, before speech gets to it; then once more."""
UNINTERRUPTED = "every answer was complete before it could be interrupted"
STEP_S = 90.0
"""Longest wait for one event, on a machine that others keep busy."""
SCRIPT_S = 240.0

TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "Tell the weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
WEATHER = '{"condition":"sunny","temperature":21}'


def url() -> str:
    """Return the address of the server under test, ws://..."""
    return os.environ["REALTIME_URL"]


def sound(name: str) -> bytes:
    """Return a spoken question as PCM16 at 24 kHz: weather, story or capital."""
    return (Path(os.environ["REALTIME_SOUNDS"]) / f"{name}.pcm").read_bytes()


async def spoken(name: str) -> AsyncIterator[bytes]:
    """Yield a question and the silence after it, a bit faster than it was spoken, in 100 ms."""
    size = int(RATE_HZ * CHUNK_S) * 2
    pcm = sound(name) + bytes(9 * size)
    for at in range(0, len(pcm), size):
        yield pcm[at : at + size]
        await asyncio.sleep(CHUNK_S / FASTER)


class Report:
    """What a client saw.

    `violations`: events that its own schema or handlers refused. `seen`: what came lately, shown
    when the script fails.
    """

    def __init__(self, client: str, version: str) -> None:
        self.facts: dict[str, Any] = {"client": client, "version": version}
        self.violations: list[str] = []
        self.seen: deque[str] = deque(maxlen=40)
        self._wanted = "the start"
        self._handler = _Complaints(self.violations)
        logging.getLogger().addHandler(self._handler)

    def run(self, work: Coroutine[Any, Any, None]) -> NoReturn:
        """Run a client to its end or to the end of its time; report, and leave the process."""
        asyncio.run(self._bounded(work))
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def waiting(self, what: str) -> AsyncIterator[None]:
        """Bound what is awaited inside. Raises AssertionError: it took too long."""
        self._wanted = what
        try:
            async with asyncio.timeout(STEP_S):
                yield
        except TimeoutError:
            raise AssertionError(f"waited {STEP_S:g} s for {what}") from None

    def done(self, step: str, **facts: Any) -> None:
        """Note that a step succeeded."""
        self.facts[step] = facts or True

    def note(self, kind: str) -> None:
        """Remember an event for the report of a failure; a run of one kind is told once."""
        if not self.seen or self.seen[-1] != kind:
            self.seen.append(kind)

    async def _bounded(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        await asyncio.wait({task}, timeout=SCRIPT_S)
        if not task.done():
            self.facts["error"] = f"ran for {SCRIPT_S:g} s, lately waiting for {self._wanted}"
        elif error := task.exception():
            self.facts["error"] = "".join(traceback.format_exception(error))[-1500:]
        self._end()

    def _end(self) -> NoReturn:
        """Print the result as a line of JSON; exit with 1 when a step is missing.

        What a client left running neither delays the end nor keeps the process.
        """
        steps = ("turn", "call", "interruption", "close")
        missing = [step for step in steps if step not in self.facts]
        self.facts |= {"violations": self.violations[:10], "missing": missing}
        if "error" in self.facts:
            self.facts["seen"] = list(self.seen)
        print(json.dumps(self.facts), flush=True)
        os._exit(1 if missing or self.violations or "error" in self.facts else 0)


class _Complaints(logging.Handler):
    """Collects what libraries log as warnings and errors."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._seen = seen

    def emit(self, record: logging.LogRecord) -> None:
        self._seen.append(f"{record.name}: {record.getMessage()[:300]}")


class Raw:
    """A client whose API is events in and out, in either shape."""

    def __init__(
        self,
        send: Callable[[dict[str, Any]], Awaitable[Any]],
        events: AsyncIterator[dict[str, Any]],
        report: Report,
        *,
        beta: bool,
    ) -> None:
        self._send, self._events, self._report, self._beta = send, events, report, beta
        self._audio = "response.audio.delta" if beta else "response.output_audio.delta"

    async def say(self, name: str) -> None:
        """Speak a question and fall silent."""
        async for piece in spoken(name):
            audio = base64.b64encode(piece).decode()
            await self._send({"type": "input_audio_buffer.append", "audio": audio})

    async def until(self, *kinds: str, response: str | None = None) -> list[dict[str, Any]]:
        """Return events up to one of these types, of a response when given."""
        seen: list[dict[str, Any]] = []
        async with self._report.waiting(" or ".join(kinds)):
            async for event in self._events:
                seen.append(event)
                self._report.note(event["type"])
                assert event["type"] != "error", event
                found = (event.get("response") or {}).get("id")
                if event["type"] in kinds and response in (None, found):
                    return seen
        raise AssertionError(f"closed before {kinds}")

    def heard(self, events: list[dict[str, Any]]) -> int:
        """Return how many bytes of sound came."""
        return sum(len(base64.b64decode(e["delta"])) for e in events if e["type"] == self._audio)

    async def converse(self) -> None:
        """Do a function call by voice, its spoken answer, and an interruption."""
        report = self._report
        await self.until("session.created")
        await self._send({"type": "session.update", "session": self._session()})
        await self.until("session.updated")
        await self.say("weather")
        done = (await self.until("response.done"))[-1]["response"]
        call = next(item for item in done["output"] if item["type"] == "function_call")
        assert json.loads(call["arguments"])["city"], call
        report.done("call", arguments=call["arguments"])
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": WEATHER}
        await self._send({"type": "conversation.item.create", "item": output})
        await self._send({"type": "response.create"})
        events = await self.until("response.done")
        assert events[-1]["response"]["status"] == "completed", events[-1]
        assert self.heard(events) > RATE_HZ, "less than half a second of answer"
        report.done("turn", bytes=self.heard(events))
        await self._interrupt()

    async def _interrupt(self) -> None:
        for _ in range(TRIES):
            await self.say("story")
            delta = (await self.until(self._audio, "response.done"))[-1]
            if delta["type"] == "response.done":
                continue
            speaking = asyncio.create_task(self.say("capital"))
            ended = await self.until("response.done", response=delta["response_id"])
            if ended[-1]["response"]["status"] == "cancelled":
                break
            await speaking
            await self.until("response.done")
        else:
            raise AssertionError(UNINTERRUPTED)
        where = {"item_id": delta["item_id"], "content_index": 0, "audio_end_ms": 100}
        await self._send({"type": "conversation.item.truncate", **where})
        rest = await self.until("conversation.item.truncated")
        await speaking
        rest += await self.until("response.done")
        late = [e for e in rest if e.get("response_id") == delta["response_id"]]
        assert not late, late
        details = ended[-1]["response"]["status_details"]
        self._report.done("interruption", status=details)

    def _session(self) -> dict[str, Any]:
        detection = {"type": "server_vad", "silence_duration_ms": 500}
        if self._beta:
            return {
                "modalities": ["text", "audio"],
                "voice": "rms",
                "input_audio_transcription": {"model": "whisper-1"},
                "turn_detection": detection,
                "tools": [TOOL],
            }
        hear = {"transcription": {"model": "gpt-4o-transcribe"}, "turn_detection": detection}
        return {"type": "realtime", "audio": {"input": hear}, "tools": [TOOL]}
