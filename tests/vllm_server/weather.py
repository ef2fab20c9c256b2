"""A TCP relay between gateway and engine that can go wrong in a chosen way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from typing import Final, Literal

Weather = Literal[
    "fair", "slow", "no route", "silent", "reset early", "reset late", "stalls", "held", "400"
]

_LIMITS: Final[dict[str, int]] = {"reset late": 12, "stalls": 12, "held": 150}
"""How many events of an answer pass."""


class Relay:
    """Relays to one server from a thread of its own; `weather` counts for new connections.

    "fair" and "slow" deliver; the others hurt only requests that stream, so that a probe of the
    server goes through. "reset early" is over after one connection.
    """

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self.weather: Weather = "fair"
        self.bodies: list[bytes] = []
        """Of the requests that came, in their order."""
        self.passed = 0
        """Events of the answer that is on its way."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        listening = asyncio.start_server(self._relay, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result(10)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(_length(head))
            if body:
                self.bodies.append(body)
            weather = self.weather if b'"stream":true' in body else "fair"
            if weather == "reset early":
                self.weather = "fair"
            if weather in ("no route", "reset early"):
                _reset(writer)
                return
            if weather == "silent":
                await reader.read(1)  # until the gateway gives up
                return
            if weather == "400":
                body = body.replace(b'"top_p":1.0', b'"top_p":9.9')
            theirs, ours = await asyncio.open_connection("127.0.0.1", self._target)
            try:
                ours.write(head + body)
                await self._answer(theirs, writer, reader, weather)
            finally:
                ours.close()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(
        self,
        theirs: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        reader: asyncio.StreamReader,
        weather: Weather,
    ) -> None:
        """Pass the answer on until it ends, the gateway leaves, or the weather breaks."""
        gone = asyncio.create_task(reader.read(1))
        limit = _LIMITS.get(weather)
        self.passed = 0
        try:
            while not gone.done():
                data = asyncio.create_task(theirs.read(1 << 16))
                await asyncio.wait([data, gone], return_when=asyncio.FIRST_COMPLETED)
                if gone.done() or not (content := data.result()):
                    data.cancel()
                    return
                if weather == "slow":
                    await asyncio.sleep(0.02)
                # A quick engine has said all of it before we are asked: only so much goes on.
                content, over = _first_events(content, limit - self.passed if limit else None)
                self.passed += content.count(b"data:")
                writer.write(content)
                await writer.drain()
                if not over:
                    continue
                if weather == "stalls":
                    await gone
                elif weather == "held":  # until the engine ends
                    with contextlib.suppress(ConnectionError):
                        while await theirs.read(1 << 16):
                            pass
                    _reset(writer)
                else:
                    await asyncio.sleep(0.05)
                    _reset(writer)
                return
        finally:
            gone.cancel()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _first_events(content: bytes, most: int | None) -> tuple[bytes, bool]:
    """Return what there is up to the event behind the `most`th, and whether it was cut there."""
    at = -1
    for _ in range((most or 0) + 1):
        at = content.find(b"data:", at + 1)
        if at < 0:
            break
    return (content, False) if most is None or at < 0 else (content[:at], True)
