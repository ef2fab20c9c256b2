"""The server's end of a websocket: a close that gets through, an end that comes.

uvicorn's own keeps the close frame back until the client reads again, and leaves a connection that
never does open for as long as TCP likes. Here the close frame joins what is already on its way, so
that a client that reads again finds all of it and the reason; after a grace the rest is dropped.
"""

from __future__ import annotations

import logging
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class Socket(WebSocketsSansIOProtocol):
    """One connection.

    Attributes:
        grace_s: how long the client may take for what is left, and for its own goodbye.
    """

    grace_s = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A refused upgrade is one line of uvicorn's; the library below would add its own.
        self.conn.logger = logging.getLogger("websockets.server")

    async def send(self, message: Any) -> None:
        """Send an event of the application; a close waits for no reader."""
        closing = message["type"] == "websocket.close"
        if closing:
            self.writable.set()
        await super().send(message)
        if closing:
            self._end_in_time()
        elif message["type"] == "websocket.http.response.body" and self.close_sent:
            self.handshake_complete = True  # a refusal is an answer, and no error to be logged

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
