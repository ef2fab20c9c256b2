"""A client of the realtime protocol for tests."""

import asyncio
import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from step_audio.core.audio import float_to_pcm16, pcm16_to_float

URL = "ws://localhost/v1/realtime?model=anything"
SECOND = base64.b64encode(float_to_pcm16(np.full(24000, 0.1, np.float32))).decode()

Event = dict[str, Any]


class Talk:
    """One client connection."""

    def __init__(self, socket: WebSocketTestSession) -> None:
        self.socket = socket

    def send(self, kind: str, **fields: Any) -> None:
        self.socket.send_json({"type": kind, **fields})

    def next(self) -> Event:
        event: Event = self.socket.receive_json()
        assert event["event_id"].startswith("event_")
        return event

    def until(self, kind: str) -> list[Event]:
        seen = [self.next()]
        while seen[-1]["type"] != kind:
            seen.append(self.next())
        return seen

    def error(self, kind: str, **fields: Any) -> Event:
        """Send something wrong and return the error it gets."""
        self.send(kind, event_id="mine", **fields)
        event = self.until("error")[-1]
        assert event["error"]["event_id"] == "mine"
        assert set(event["error"]) == {"type", "code", "message", "param", "event_id"}
        found: Event = event["error"]
        return found

    def hear(self, seconds: float, level: float = 0.0) -> None:
        """Send noise of a level, or silence, in chunks of 20 ms."""
        noise = np.random.default_rng(0)
        for _ in range(round(seconds * 50)):
            pcm = level * noise.uniform(-1, 1, 480).astype(np.float32)
            audio = base64.b64encode(float_to_pcm16(pcm)).decode()
            self.send("input_audio_buffer.append", audio=audio)

    def ask(self) -> str:
        """Speak for a second, commit, and return the item's id."""
        self.send("input_audio_buffer.append", audio=SECOND)
        self.send("input_audio_buffer.commit")
        committed, added, done = self.next(), self.next(), self.next()
        assert committed["type"] == "input_audio_buffer.committed"
        assert added["type"] == "conversation.item.added"
        assert done["type"] == "conversation.item.done"
        assert committed["item_id"] == added["item"]["id"] == done["item"]["id"]
        item_id: str = committed["item_id"]
        return item_id


def slow_line(app: ASGIApp, delay_s: float) -> ASGIApp:
    """Return an application whose every piece of sound takes so long on its way to the client."""

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if "output_audio.delta" in message.get("text", ""):
                await asyncio.sleep(delay_s)
            await send(message)

        await app(scope, receive, sent)

    return slow


@contextmanager
def talking(client: TestClient, **options: Any) -> Iterator[Talk]:
    """Open a session and read its greeting; `options` are of the upgrade."""
    with client.websocket_connect(URL, **options) as socket:
        talk = Talk(socket)
        assert talk.next()["type"] == "session.created"
        yield talk


def kinds(events: list[Event]) -> list[str]:
    """Return the types, runs of deltas shown once."""
    out: list[str] = []
    for event in events:
        kind = event["type"]
        if not kind.endswith(".delta") or kind not in out:
            out.append(kind)
    return out


def sound(events: list[Event]) -> int:
    return sum(
        len(pcm16_to_float(base64.b64decode(event["delta"])))
        for event in events
        if event["type"] == "response.output_audio.delta"
    )
