"""A client over a real socket, for what a test transport cannot show: drops, silence, slowness."""

import base64
import json
import socket as sockets
from collections.abc import Callable
from typing import Any

import numpy as np
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from step_audio.core.audio import float_to_pcm16
from step_audio.dialog.prompting.layout import interleave
from tests.fakes import VOCAB, group, text_ids

GROUPS = 40
ANSWER = interleave(
    text_ids("It is noon and the sun is high."), [group(n) for n in range(GROUPS)], VOCAB
)
WHOLE = 2 * 2880 * GROUPS
SECOND = base64.b64encode(float_to_pcm16(np.full(24000, 0.1, np.float32))).decode()
Event = dict[str, Any]
LEGACY: dict[str, Any] = {"legacy": True}  # connects at once: these sockets outlive no block


def dial(port: int, *protocols: str) -> ClientConnection:
    wanted = [Subprotocol(name) for name in ("realtime", *protocols)]
    url = f"ws://127.0.0.1:{port}/v1/realtime"
    talk: ClientConnection = connect(url, subprotocols=wanted, max_size=None, **LEGACY)
    return talk


def ask(talk: ClientConnection) -> None:
    talk.send(json.dumps({"type": "input_audio_buffer.append", "audio": SECOND}))
    talk.send('{"type": "input_audio_buffer.commit"}')
    talk.send('{"type": "response.create"}')


def until(talk: ClientConnection, last: Callable[[Event], bool]) -> list[Event]:
    events: list[Event] = [json.loads(talk.recv(20))]
    while not last(events[-1]):
        events.append(json.loads(talk.recv(20)))
    return events


def of(kind: str) -> Callable[[Event], bool]:
    return lambda event: bool(event["type"] == kind)


def drop(talk: ClientConnection) -> None:
    """Tear the socket as a dying network would."""
    talk.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    talk.socket.shutdown(sockets.SHUT_RDWR)


def sound(events: list[Event]) -> int:
    deltas = [e["delta"] for e in events if e["type"] == "response.output_audio.delta"]
    return sum(len(base64.b64decode(delta)) for delta in deltas)
