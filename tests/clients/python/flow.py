"""What every client has to do, and how it reports: sounds, a result, the raw conversation."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

RATE_HZ = 24_000
CHUNK_S = 0.1
FASTER = 4.0
"""Sound is sent this many times faster than it was spoken."""
TRIES = 4
"""An answer may be complete before speech gets to it; then the interruption is tried again."""
STEP_S = 120.0

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
    """Return a spoken question as PCM16 at 24 kHz: weather, units or feet."""
    return (Path(os.environ["REALTIME_SOUNDS"]) / f"{name}.pcm").read_bytes()


def chunks(pcm: bytes) -> list[bytes]:
    """Return sound in pieces of 100 ms."""
    size = int(RATE_HZ * CHUNK_S) * 2
    return [pcm[at : at + size] for at in range(0, len(pcm), size)]


def silence(seconds: float) -> bytes:
    """Return so much silence."""
    return bytes(int(RATE_HZ * seconds) * 2)


class Report:
    """What a client saw. `violations`: events that its own schema or handlers refused."""

    def __init__(self, client: str, version: str) -> None:
        self.facts: dict[str, Any] = {"client": client, "version": version}
        self.violations: list[str] = []
        self._handler = _Complaints(self.violations)
        logging.getLogger().addHandler(self._handler)

    def done(self, step: str, **facts: Any) -> None:
        """Note that a step succeeded."""
        self.facts[step] = facts or True

    def end(self) -> None:
        """Print the result as a line of JSON; exit with 1 when a step is missing."""
        steps = ("turn", "call", "interruption", "close")
        missing = [step for step in steps if step not in self.facts]
        self.facts |= {"violations": self.violations[:10], "missing": missing}
        print(json.dumps(self.facts), flush=True)
        sys.exit(1 if missing or self.violations else 0)


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
        *,
        beta: bool,
    ) -> None:
        self._send, self._events, self._beta = send, events, beta
        self._audio = "response.audio.delta" if beta else "response.output_audio.delta"

    async def say(self, name: str) -> None:
        """Speak a question and fall silent."""
        for piece in chunks(sound(name) + silence(0.9)):
            audio = base64.b64encode(piece).decode()
            await self._send({"type": "input_audio_buffer.append", "audio": audio})
            await asyncio.sleep(CHUNK_S / FASTER)

    async def until(self, kind: str, response: str | None = None) -> list[dict[str, Any]]:
        """Return events up to one of a type, of a response when given."""
        seen: list[dict[str, Any]] = []
        async with asyncio.timeout(STEP_S):
            async for event in self._events:
                seen.append(event)
                assert event["type"] != "error", event
                found = (event.get("response") or {}).get("id")
                if event["type"] == kind and response in (None, found):
                    return seen
        raise AssertionError(f"closed before {kind}")

    def heard(self, events: list[dict[str, Any]]) -> int:
        """Return how many bytes of sound came."""
        return sum(len(base64.b64decode(e["delta"])) for e in events if e["type"] == self._audio)

    async def converse(self, report: Report) -> None:
        """Do a function call by voice, its spoken answer, and an interruption."""
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
        await self._interrupt(report)

    async def _interrupt(self, report: Report) -> None:
        for _ in range(TRIES):
            await self.say("units")
            delta = (await self.until(self._audio))[-1]
            speaking = asyncio.create_task(self.say("feet"))
            ended = await self.until("response.done", delta["response_id"])
            if ended[-1]["response"]["status"] == "cancelled":
                break
            await speaking
            await self.until("response.done")
        else:
            raise AssertionError("every answer was complete before it could be interrupted")
        where = {"item_id": delta["item_id"], "content_index": 0, "audio_end_ms": 100}
        await self._send({"type": "conversation.item.truncate", **where})
        rest = await self.until("conversation.item.truncated")
        await speaking
        rest += await self.until("response.done")
        late = [e for e in rest if e.get("response_id") == delta["response_id"]]
        assert not late, late
        report.done("interruption", status=ended[-1]["response"]["status_details"])

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
