"""Malformed frames against a real server. Run: python -m tests.server.fuzz --frames 100000

One client sends frames that are wrong in every way the seed finds: bytes, broken JSON, wrong types,
mutated events, wild numbers, half events. A neighbour asks its questions meanwhile and must get the
very same answers. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import logging
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from server.limits import ServerSettings
from server.pace import PaceLimits
from step_audio.dialog.packing import interleave
from tests.fakes import VOCAB, ScriptedEngine, group, services, text_ids
from tests.server.loopback import serving
from tokenizer.vad import EnergyTurnDetector

GROUPS = 6
ANSWER = interleave(text_ids("It is noon."), [group(n) for n in range(GROUPS)], VOCAB)
SECOND = base64.b64encode(bytes(range(256)) * 180).decode()
LIMITS = ServerSettings(
    max_sessions=50,
    max_message_bytes=1 << 18,
    pace=PaceLimits(messages_per_s=1e6, messages_burst=1e6, bytes_per_s=1e9, bytes_burst=1e9),
)

EVENTS: list[dict[str, Any]] = [
    {"type": "session.update", "session": {"type": "realtime", "instructions": "x", "tools": []}},
    {"type": "session.update", "session": {"audio": {"input": {"turn_detection": None}}}},
    {"type": "session.update", "session": {"audio": {"input": {"turn_detection": {"type": "x"}}}}},
    {"type": "input_audio_buffer.append", "audio": SECOND[:4000]},
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    {
        "type": "conversation.item.create",
        "item": {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "y"}],
        },
    },
    {
        "type": "conversation.item.create",
        "previous_item_id": "root",
        "item": {"type": "function_call", "name": "f", "call_id": "c", "arguments": "{}"},
    },
    {"type": "conversation.item.retrieve", "item_id": "item_1"},
    {"type": "conversation.item.truncate", "item_id": "a", "content_index": 0, "audio_end_ms": 5},
    {"type": "conversation.item.delete", "item_id": "item_1"},
    {"type": "response.create", "response": {"metadata": {"a": "b"}, "tool_choice": "auto"}},
    {"type": "response.cancel", "response_id": "r"},
    {"type": "output_audio_buffer.clear"},
]
WILD: list[Any] = [
    None, True, -1, 0, 10**400, 1.5, 1e308, "", "\0", "\ud800", "x" * 5000, [], {}, [[]], "root",
    {"type": "x"}, [None] * 100, "../../etc/passwd", "NaN", -(2**63), "🦜", {"": {"": {}}},
]  # fmt: skip


def frame(rng: random.Random) -> str | bytes:
    """Return a frame; most are wrong somewhere, a few are right."""
    makers: tuple[Callable[[random.Random], str | bytes], ...] = (
        lambda r: r.randbytes(r.randrange(200)),
        lambda r: "".join(chr(r.randrange(1, 0xD7FF)) for _ in range(r.randrange(50))),
        lambda r: "[" * r.randrange(3000),
        lambda r: '{"type":' * r.randrange(2000),
        lambda r: json.dumps(r.choice(WILD)),
        lambda r: json.dumps({"type": r.choice(WILD), "event_id": r.choice(WILD)}),
        lambda r: json.dumps(r.choice(EVENTS)),
        _cut,
        *[lambda r: json.dumps(_mutated(r, r.choice(EVENTS)))] * 8,
    )
    return rng.choice(makers)(rng)


def _cut(rng: random.Random) -> str:
    text = json.dumps(rng.choice(EVENTS))
    return text[: rng.randrange(len(text))]


def _mutated(rng: random.Random, event: Any) -> Any:
    """Return an event with some value, key or depth changed."""
    if not isinstance(event, dict) or not event or rng.random() < 0.1:
        return rng.choice(WILD)
    out = dict(event)
    key = rng.choice(list(out))
    if key == "type" and rng.random() < 0.8:
        key = rng.choice(list(out))
    what = rng.random()
    if what < 0.15:
        del out[key]
    elif what < 0.3:
        out[str(rng.choice(WILD))[:60]] = rng.choice(WILD)
    else:
        out[key] = _mutated(rng, out[key]) if isinstance(out[key], dict) else rng.choice(WILD)
    return out


async def attack(url: str, frames: int, seed: int) -> Counter[str]:
    """Send frames, connecting again whenever the server hangs up; count what came back."""
    rng, sent = random.Random(seed), 0
    seen: Counter[str] = Counter()
    while sent < frames:
        try:
            socket = await connect(url, max_size=None, compression=None)
        except InvalidStatus:  # full: the session before is still being cleared away
            await asyncio.sleep(0.05)
            continue
        seen["connections"] += 1
        reading = asyncio.create_task(_drain(socket, seen))
        with suppress(ConnectionClosed):
            for _ in range(min(frames - sent, 2000)):
                await socket.send(frame(rng))
                sent += 1
            await socket.send('{"type": "response.cancel", "event_id": "last"}')
            await asyncio.wait([reading], timeout=60)
        reading.cancel()
        await asyncio.wait([reading])
        await socket.close()
        seen["crashes"] += socket.close_code == 1011
    return seen


async def _drain(socket: ClientConnection, seen: Counter[str]) -> None:
    async for message in socket:
        event = json.loads(message)
        seen[event["type"].split(".")[0]] += 1
        if event["type"] == "error" and event["error"]["event_id"] == "last":
            return


async def neighbour(url: str, stop: asyncio.Event) -> tuple[int, int]:
    """Ask until told to stop; return (questions, answers that were whole)."""
    asked = whole = 0
    async with connect(url, max_size=None, compression=None) as socket:
        while not stop.is_set() or not asked:
            append = {"type": "input_audio_buffer.append", "audio": SECOND}
            for event in (
                append,
                {"type": "input_audio_buffer.commit"},
                {"type": "response.create"},
            ):
                await socket.send(json.dumps(event))
            asked += 1
            heard = 0
            told: dict[str, Any] = {"type": ""}
            while told["type"] != "response.done":
                told = json.loads(await asyncio.wait_for(socket.recv(), 60))
                if told["type"] == "response.output_audio.delta":
                    heard += len(base64.b64decode(told["delta"]))
            whole += heard == 2 * 2880 * GROUPS and told["response"]["status"] == "completed"
            await asyncio.sleep(0.02)
    return asked, whole


async def fuzz(url: str, frames: int, seed: int) -> dict[str, int]:
    """Return what happened."""
    stop = asyncio.Event()
    beside = asyncio.create_task(neighbour(url, stop))
    seen = await attack(url, frames, seed)
    stop.set()
    asked, whole = await beside
    return {
        "frames": frames,
        "connections": seen["connections"],
        "errors": seen["error"],
        "crashes": seen["crashes"],
        "neighbour_asked": asked,
        "neighbour_whole": whole,
    }


def run(frames: int, seed: int) -> dict[str, int]:
    """Serve, attack, report; a logged exception counts as a crash."""
    broken: list[logging.LogRecord] = []

    class Ears(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            ours = record.name.startswith(("server", "step_audio"))
            if record.exc_info or (ours and record.levelno >= logging.ERROR):
                broken.append(record)

    ears = Ears()
    logging.getLogger().addHandler(ears)
    try:
        parts = replace(services(ScriptedEngine([ANSWER])), turn_detector=EnergyTurnDetector())
        with serving(parts, None, LIMITS) as port:
            figures = asyncio.run(fuzz(f"ws://127.0.0.1:{port}/v1/realtime", frames, seed))
    finally:
        logging.getLogger().removeHandler(ears)
    for record in broken[:3]:
        print(logging.Formatter().format(record))
    return {**figures, "crashes": figures["crashes"] + len(broken)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    figures = run(args.frames, args.seed)
    print(json.dumps({"fuzz": "realtime", "seed": args.seed, **figures}))
    if figures["crashes"] or figures["neighbour_whole"] < figures["neighbour_asked"]:
        raise SystemExit(1)
