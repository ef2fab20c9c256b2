"""An OpenAI-compatible chat server on a real socket: it replays what servers were seen to send.

A script is a list of replies, one a request; a reply is the name of a file in
tests/endpoints/recorded, or a function from the request's body to the bytes of such a file. The
last one is repeated.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

RECORDED: Final = Path(__file__).parent / "endpoints" / "recorded"
Reply = str | Callable[[dict[str, Any]], bytes]
_PIECE: Final = 37
"""Bytes at a time: events are cut anywhere."""


@dataclass
class ChatServer:
    """What it answers, and what it was asked.

    Attributes:
        replies: see above.
        first_s, piece_s: before the first byte, and between two events.
        requests: headers and bodies of what was posted.
        aborted: answers that the client left before their end.
    """

    replies: Sequence[Reply] = ("vllm-text",)
    first_s: float = 0.0
    piece_s: float = 0.0
    models: tuple[str, ...] = ("m",)
    url: str = ""
    requests: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    aborted: int = 0

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The bodies of what was posted."""
        return [body for _, body in self.requests]

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        finished = False
        try:
            method, path, headers = await _head(reader)
            if method == "GET":
                listed = {"object": "list", "data": [{"id": name} for name in self.models]}
                writer.write(_plain(json.dumps(listed).encode()))
                finished = True
                return
            body = json.loads(await reader.readexactly(int(headers["content-length"])))
            self.requests.append((headers, body))
            reply = self.replies[min(len(self.requests), len(self.replies)) - 1]
            recorded = reply(body) if callable(reply) else (RECORDED / f"{reply}.http").read_bytes()
            await self._send(recorded, writer, path)
            finished = True
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.aborted += not finished
            writer.close()

    async def _send(self, recorded: bytes, writer: asyncio.StreamWriter, path: str) -> None:
        head, _, body = recorded.partition(b"\n\n")
        lines = head.split(b"\n")
        cut = b"x-end: cut" in lines
        await asyncio.sleep(self.first_s)
        writer.write(b"\r\n".join([*lines, b"transfer-encoding: chunked", b"connection: close"]))
        writer.write(b"\r\n\r\n")
        for piece in _pieces(body, slow=self.piece_s > 0):
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
            if writer.transport.is_closing():
                raise ConnectionResetError
            await asyncio.sleep(self.piece_s)
        if cut:
            writer.transport.abort()
        else:
            writer.write(b"0\r\n\r\n")
            await writer.drain()


@asynccontextmanager
async def serving(server: ChatServer, port: int = 0) -> AsyncIterator[ChatServer]:
    """Serve on a port of the loopback interface while the block runs."""
    listening = await asyncio.start_server(server.answer, "127.0.0.1", port)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    try:
        yield server
    finally:
        listening.close()


def completion(*deltas: dict[str, Any], reason: str = "stop") -> bytes:
    """Return a stream of deltas as a recorded file has it."""
    chunks = [*({"choices": [{"index": 0, "delta": d}]} for d in deltas)]
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in [*chunks, last]]
    head = "HTTP/1.1 200 OK\ncontent-type: text/event-stream\n\n"
    return (head + "".join(lines) + "data: [DONE]\n\n").encode()


def saying(text: str) -> bytes:
    """Return the stream of a text, word by word."""
    words = text.split(" ")
    return completion(*({"content": (" " if at else "") + w} for at, w in enumerate(words)))


def calling(name: str, arguments: str, call_id: str = "call_1") -> bytes:
    """Return the stream of a tool call."""
    function = {"name": name, "arguments": arguments}
    call = {"index": 0, "id": call_id, "type": "function", "function": function}
    return completion({"role": "assistant", "tool_calls": [call]}, reason="tool_calls")


def _plain(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return f"{head}\r\nconnection: close\r\n\r\n".encode() + body


def _pieces(body: bytes, *, slow: bool) -> list[bytes]:
    """Return a body cut anywhere, or event by event where there is time between them."""
    if slow:
        return [event + b"\n\n" for event in body.split(b"\n\n") if event]
    return [body[at : at + _PIECE] for at in range(0, len(body), _PIECE)]


async def _head(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str]]:
    first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = first.split(" ")
    pairs = (line.split(": ", 1) for line in rest if line)
    return method, path, {name.lower(): value for name, value in pairs}
