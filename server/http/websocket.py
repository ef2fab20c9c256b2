"""The server's end of a websocket: a close that gets through, an end that comes.

uvicorn's own keeps the close frame back until the client reads again, and leaves a connection that
never does open for as long as TCP likes. Here the close frame joins what is already on its way, so
that a client that reads again finds all of it and the reason; after a grace the rest is dropped.

The library below closes at once when a message is too long. Here the application hears of it, says
why and closes; the rest of the message is read and thrown away, or the reset of the connection
would throw away what was said.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import PayloadTooBig
from websockets.frames import CloseCode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

TOO_LONG: Final = "step_audio.too_long"
"""Key of a message of which this is all that arrives: it was longer than may be."""


_READ_S: Final = 1.0
SUBPROTOCOL: Final = "realtime"
_SECRETS: Final = ("openai-insecure-api-key.", "step-audio-resume.")


def chosen_subprotocol(offered: Sequence[str]) -> str | None:
    """Return the subprotocol of an upgrade's answer: a browser wants one of those it offers.

    One that carries a secret is taken only where there is no other: nobody sees it who did not
    see the request.
    """
    if SUBPROTOCOL in offered:
        return SUBPROTOCOL
    plain = (name for name in offered if not name.startswith(_SECRETS))
    return next(plain, offered[0] if offered else None)


class _Frames(ServerProtocol):
    """Frames of one connection; a message that is too long leaves it open, and unread."""

    def fail(self, code: CloseCode | int, reason: str = "") -> None:
        if code != CloseCode.MESSAGE_TOO_BIG or self.state is not OPEN:
            super().fail(code, reason)
            return
        self.parser = self._unread()
        next(self.parser)

    def _unread(self) -> Generator[None, None, None]:
        while True:
            self.reader.discard()
            yield


class Socket(WebSocketsSansIOProtocol):
    """One connection.

    Attributes:
        grace_s: how long the client may take for what is left, and for its own goodbye.
    """

    grace_s = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A refused upgrade is one line of uvicorn's; the library below would add its own.
        log = logging.getLogger("websockets.server")
        self.conn = _Frames(max_size=self.config.ws_max_size, logger=log)
        self._unread = False

    async def send(self, message: Any) -> None:
        """Send an event of the application; a close waits for no reader."""
        closing = message["type"] == "websocket.close"
        if closing:
            self.writable.set()
        await super().send(message)
        if closing:
            if self._unread:  # our goodbye is out, the client's cannot be found
                if self.transport.can_write_eof():
                    self.transport.write_eof()
                else:  # TLS ends both ways at once: what was said needs time to be read
                    self.loop.call_later(_READ_S, self.transport.close)
            self._end_in_time()
        elif message["type"] == "websocket.http.response.body" and self.close_sent:
            self.handshake_complete = True  # a refusal is an answer, and no error to be logged

    def data_received(self, data: bytes) -> None:
        """Take bytes; behind the head of a message that is too long they are thrown away."""
        if not self._unread:
            super().data_received(data)

    def handle_parser_exception(self) -> None:
        """Something that came is no message, or too long for one."""
        if not isinstance(self.conn.parser_exc, PayloadTooBig):
            super().handle_parser_exception()
            return
        self._unread = True
        self.handle_events()  # what came whole before it
        told: Any = {"type": "websocket.receive", "text": "", TOO_LONG: True}
        self.queue.put_nowait(told)
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    async def run_asgi(self) -> None:
        """Run the application; what it leaves unsent has its grace."""
        await super().run_asgi()
        if self.close_timer is None:
            self._end_in_time()

    def keepalive_timeout(self) -> None:
        """The client answers no ping."""
        super().keepalive_timeout()
        self._end_in_time()

    def _end_in_time(self) -> None:
        if self.close_timer is not None:
            self.close_timer.cancel()
        if not self.disconnected:
            self.close_timer = self.loop.call_later(self.grace_s, self.transport.abort)
