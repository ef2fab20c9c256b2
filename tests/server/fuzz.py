"""Malformed frames against a real server. Run: python -m tests.server.fuzz --frames 100000

One client sends frames that are wrong in every way the seed finds: bytes, broken JSON, wrong types,
mutated events, wild numbers, half events. A neighbour asks its questions meanwhile and must get the
very same answers. Progress goes to stderr, with the arguments to go on from there. The last line is
JSON; exit code 1 for a crash, a misshapen error, or an answer that the neighbour did not get.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from server.admission.limits import ServerSettings
from server.admission.pace import PaceLimits
from step_audio.dialog.prompting.layout import interleave
from tests.fakes import VOCAB, ScriptedEngine, group, services, text_ids
from tests.server.loopback import serving
from tokenizer.vad import EnergyTurnDetector

GROUPS = 6
BATCH = 2000
"""Frames a connection, and frames that have a seed of their own."""
NEIGHBOUR_S = 0.25
PROGRESS_S = 5.0
Tell = Callable[[int, Counter[str]], None]
"""Is told the number of the frames that are done, and what was seen."""
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


async def attack(url: str, frames: range, seed: int, told: Tell) -> Counter[str]:
    """Send frames, connecting again whenever the server hangs up; count what came back.

    Each batch has a seed of its own, so that a run may begin with any of them.
    """
    seen: Counter[str] = Counter()
    for first in range(frames.start, frames.stop, BATCH):
        rng = random.Random(f"{seed}/{first}")
        batch = [frame(rng) for _ in range(min(BATCH, frames.stop - first))]
        while batch:
            batch = batch[await _burst(url, batch, seen) :]
        told(min(first + BATCH, frames.stop), seen)
    return seen


async def _burst(url: str, frames: list[str | bytes], seen: Counter[str]) -> int:
    """Send frames over one connection until the server hangs up; return how many."""
    try:
        socket = await connect(url, max_size=None, compression=None)
    except InvalidStatus:  # full: the session before is still being cleared away
        await asyncio.sleep(0.05)
        return 0
    seen["connections"] += 1
    reading, sent = asyncio.create_task(_drain(socket, seen)), 0
    with suppress(ConnectionClosed):
        for one in frames:
            await socket.send(one)
            sent += 1
        await socket.send('{"type": "over", "event_id": "last"}')
        await asyncio.wait([reading], timeout=60)
    seen["stuck"] += not reading.done()
    reading.cancel()
    await asyncio.wait([reading])
    await socket.close()
    seen["crashes"] += socket.close_code == 1011
    return sent


async def _drain(socket: ClientConnection, seen: Counter[str]) -> None:
    async for message in socket:
        event = json.loads(message)
        seen[event["type"].split(".")[0]] += 1
        if event["type"] == "error":
            seen["misshapen"] += not well_formed(event)
            if event["error"]["event_id"] == "last":
                return


def well_formed(event: dict[str, Any]) -> bool:
    """Whether an error says everything that the protocol asks for."""
    error = event["error"]
    return (
        set(error) == {"type", "code", "message", "param", "event_id"}
        and error["type"] == "invalid_request_error"
        and isinstance(error["code"], str)
        and bool(error["message"])
    )


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
            # A person's pace would do; the neighbour is there to notice, not to be the load.
            await asyncio.sleep(NEIGHBOUR_S)
    return asked, whole


async def fuzz(url: str, frames: range, seed: int, told: Tell) -> dict[str, int]:
    """Return what happened."""
    stop = asyncio.Event()
    beside = asyncio.create_task(neighbour(url, stop))
    try:
        seen = await attack(url, frames, seed, told)
    finally:
        stop.set()
        asked, whole = await beside
    return {
        "frames": len(frames),
        "connections": seen["connections"],
        "errors": seen["error"],
        "misshapen": seen["misshapen"],
        "stuck": seen["stuck"],
        "crashes": seen["crashes"],
        "neighbour_asked": asked,
        "neighbour_whole": whole,
    }


def run(frames: range, seed: int, told: Tell = lambda at, seen: None) -> dict[str, int]:
    """Serve, attack, report; a logged exception counts as a crash."""
    broken: list[logging.LogRecord] = []

    class Ears(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            ours = record.name.startswith(("server", "step_audio"))
            if record.exc_info or (ours and record.levelno >= logging.ERROR):
                broken.append(record)

    ears, switch_s = Ears(), sys.getswitchinterval()
    logging.getLogger().addHandler(ears)
    # Server and clients take turns in this one interpreter, several times a frame.
    sys.setswitchinterval(0.0002)
    try:
        parts = replace(services(ScriptedEngine([ANSWER])), turn_detector=EnergyTurnDetector())
        with serving(parts, None, LIMITS) as port:
            figures = asyncio.run(fuzz(f"ws://127.0.0.1:{port}/v1/realtime", frames, seed, told))
    finally:
        logging.getLogger().removeHandler(ears)
        sys.setswitchinterval(switch_s)
    for record in broken[:3]:
        print(logging.Formatter().format(record))
    return {**figures, "crashes": figures["crashes"] + len(broken)}


def progress(seed: int) -> Tell:
    """Return what says every few seconds how far a run is, and how to go on from there."""
    begun_s = told_s = time.monotonic()
    first: int | None = None

    def tell(at: int, seen: Counter[str]) -> None:
        nonlocal told_s, first
        now_s, first = time.monotonic(), at - BATCH if first is None else first
        if now_s - told_s > PROGRESS_S:
            told_s = now_s
            pace = (at - first) / (now_s - begun_s)
            found = f"{seen['error']} errors, {seen['crashes']} crashes"
            text = (
                f"{at} frames, {pace:.0f} a second, {found}; from here: --seed {seed} --start {at}"
            )
            print(text, file=sys.stderr, flush=True)

    return tell


def main() -> None:
    """Run and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100_000, help="number of the last")
    parser.add_argument("--start", type=int, default=0, help="of a run that was broken off")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    start = args.start // BATCH * BATCH
    figures = run(range(start, args.frames), args.seed, progress(args.seed))
    print(json.dumps({"fuzz": "realtime", "seed": args.seed, "start": start, **figures}))
    bad = figures["crashes"] + figures["misshapen"] + figures["stuck"]
    if bad or figures["neighbour_whole"] < figures["neighbour_asked"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
