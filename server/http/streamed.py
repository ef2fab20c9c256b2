"""A response that is made while it is sent, and given up as soon as nobody takes it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

_LOG = logging.getLogger(__name__)


class Streamed(Response):
    """Sends what a generator yields; status and headers go out with the first piece.

    Until then an error of the generator is an ordinary error response. A client that goes away
    closes the generator at once, and with it whatever the generator holds: a place among the
    sessions, the engine's work. A client that takes nothing for `send_timeout_s` has gone too.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        media_type: str,
        status_code: int = 200,
        *,
        send_timeout_s: float = 30.0,
        headers: Mapping[str, str] | None = None,
        late_headers: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """Args: `late_headers` is asked when the first piece is there."""
        super().__init__(None, status_code, headers, media_type)
        # The length is not known, and a browser must not guess a type.
        del self.headers["content-length"]
        self._pieces = pieces
        self._late_headers = late_headers
        self._send_timeout_s = send_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything, or stop when the client is gone."""
        work = asyncio.create_task(self._work(send), name="response.send")
        gone = asyncio.create_task(_gone(receive), name="response.gone")
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.wait({work, gone})
        error = None if work.cancelled() else work.exception()
        if isinstance(error, _Stalled):
            # The server closes the connection of an answer that ends before its end.
            _LOG.info("client takes nothing", extra={"waited_s": self._send_timeout_s})
        elif error is not None:
            raise error

    async def _work(self, send: Send) -> None:
        async with aclosing(self._pieces):
            # The first piece tells whether it works at all, while an error can be a status.
            first = await anext(self._pieces, b"")
            self.headers.update(self._late_headers())
            start: Message = {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
            await self._put(send, start)
            await self._put(send, _body(first))
            async for piece in self._pieces:
                if piece:
                    await self._put(send, _body(piece))
            await self._put(send, {"type": "http.response.body", "body": b"", "more_body": False})

    async def _put(self, send: Send, message: Message) -> None:
        try:
            async with asyncio.timeout(self._send_timeout_s):
                await send(message)
        except TimeoutError:
            raise _Stalled from None


class _Stalled(Exception):
    """The client took nothing for too long."""


def _body(piece: bytes) -> Message:
    return {"type": "http.response.body", "body": piece, "more_body": True}


async def _gone(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
