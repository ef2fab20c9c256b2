"""The stock OpenAI client in a conversation: run by its own environment, one JSON line at the end.

Three turns, a tool of the client, a tool of an MCP server, an interruption, then a transcription
session; every event is checked against the client's own types.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter, ValidationError

RATE_HZ, CHUNK = 24_000, 2_400
STEP_S = 120.0
KNOWN: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
JOKE = {
    "type": "function",
    "name": "tell_joke",
    "description": "Return a joke.",
    "parameters": {"type": "object", "properties": {}},
}


class Client:
    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.violations: list[str] = []

    async def until(self, *kinds: str) -> list[dict[str, Any]]:
        """Return events up to one of these."""
        seen: list[dict[str, Any]] = []
        async with asyncio.timeout(STEP_S):
            while not seen or seen[-1]["type"] not in kinds:
                raw = json.loads(await self.connection.recv_bytes())
                try:
                    KNOWN.validate_python(raw)
                except ValidationError as error:
                    self.violations.append(f"{raw['type']}: {error.errors()[:1]}")
                if raw["type"] == "error":
                    raise RuntimeError(str(raw["error"]))
                seen.append(raw)
        return seen

    async def speak(self, name: str, silence_s: float = 1.2) -> None:
        """Say a question in real time, and be silent."""
        pcm = (Path(os.environ["SOUNDS"]) / f"{name}.pcm").read_bytes()
        pcm += bytes(round(silence_s * RATE_HZ) * 2)
        begun = time.monotonic()
        for at in range(0, len(pcm), CHUNK * 2):
            audio = base64.b64encode(pcm[at : at + CHUNK * 2]).decode()
            await self.connection.input_audio_buffer.append(audio=audio)
            due = begun + (at / 2 + CHUNK) / RATE_HZ
            await asyncio.sleep(max(0.0, due - time.monotonic()))


def told(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what a turn was: what was heard, said, called, and how much of it was sound."""
    of = lambda kind: [e for e in events if e["type"] == kind]  # noqa: E731
    heard = of("conversation.item.input_audio_transcription.completed")
    said = of("response.output_audio_transcript.done")
    sound = sum(len(base64.b64decode(e["delta"])) for e in of("response.output_audio.delta"))
    calls = of("response.function_call_arguments.done")
    deltas = of("conversation.item.input_audio_transcription.delta")
    return {
        "heard": heard[0]["transcript"] if heard else None,
        "language": heard[0].get("language") if heard else None,
        "deltas": "".join(e["delta"] for e in deltas),
        "said": " ".join(e["transcript"] for e in said),
        "sound_s": sound / 2 / RATE_HZ,
        "calls": [{"name": e["name"], "arguments": e["arguments"]} for e in calls],
        "call_id": calls[0]["call_id"] if calls else None,
        "status": events[-1]["response"]["status"] if "response" in events[-1] else None,
    }


async def conversation(client: AsyncOpenAI, report: dict[str, Any]) -> None:
    async with client.realtime.connect(model="any") as connection:
        stock = Client(connection)
        await stock.until("session.created")
        heard = {"transcription": {"model": "whisper-1"}}
        session = {"type": "realtime", "audio": {"input": heard}, "tools": [JOKE]}
        await connection.session.update(session=session)
        await stock.until("session.updated")
        for name in ("capital", "legs", "joke"):
            speaking = asyncio.create_task(stock.speak(name))
            report[name] = told(await stock.until("response.done"))
            await speaking
        item = {
            "type": "function_call_output",
            "call_id": report["joke"]["call_id"],
            "output": "the cat",
        }
        await connection.conversation.item.create(item=item)
        await connection.response.create()
        report["after_call"] = told(await stock.until("response.done"))
        speaking = asyncio.create_task(stock.speak("time"))
        await stock.until("response.output_audio.delta")
        await speaking
        speaking = asyncio.create_task(stock.speak("capital"))
        report["interrupted"] = told(await stock.until("response.done"))
        report["after_interruption"] = told(await stock.until("response.done"))
        await speaking
        report["violations"] = stock.violations


async def dictation(client: AsyncOpenAI, report: dict[str, Any]) -> None:
    query: Any = {"intent": "transcription"}
    async with client.realtime.connect(extra_query=query) as connection:
        stock = Client(connection)
        created = await stock.until("session.created")
        report["session"] = created[-1]["session"]["type"]
        session: Any = {
            "type": "transcription",
            "audio": {"input": {"transcription": {"model": "whisper-1", "language": "en"}}},
        }
        await connection.session.update(session=session)
        await stock.until("session.updated")
        completed = "conversation.item.input_audio_transcription.completed"
        report["dictated"] = []
        for name in ("legs", "capital"):
            speaking = asyncio.create_task(stock.speak(name))
            report["dictated"].append(told(await stock.until(completed)))
            await speaking
        report["violations"] += stock.violations


async def main() -> None:
    base = os.environ["REALTIME_URL"].removesuffix("/realtime")
    client = AsyncOpenAI(
        api_key="none", base_url=base.replace("ws", "http", 1), websocket_base_url=base
    )
    report: dict[str, Any] = {}
    try:
        await conversation(client, report)
        await dictation(client, report)
    finally:
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
