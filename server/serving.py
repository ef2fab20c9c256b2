"""uvicorn in a process of its own: no pauses once it serves, a drain before it stops."""

from __future__ import annotations

import gc
import logging
import socket
import sys
from types import FrameType
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from server.admission.drain import Drain
from server.admission.limits import ServerSettings
from server.http.websocket import Socket

_LOG = logging.getLogger(__name__)

_THRESHOLDS: Final = (5_000, 5, 5)
"""Of the garbage collector: a young collection looks at so many new objects, about a
millisecond's work, every 25th at all: 27 000 in 5 ms with 50 sessions."""
_SWITCH_S: Final = 0.0005
"""So long a model's thread may keep the interpreter while the event loop wants it; Python's own
5 ms come back at every system call of the loop."""


def calm() -> None:
    """Make this process pause less: for one that has loaded everything and now only serves.

    What is loaded by now is taken for eternal, so a full collection no longer walks through
    libraries and models: with the scripted profile it took 60 ms, in which nobody was answered.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # the next full one is due by what has come since the last
    gc.set_threshold(*_THRESHOLDS)
    sys.setswitchinterval(_SWITCH_S)


def configured(app: ASGIApp, settings: ServerSettings, **listen: Any) -> uvicorn.Config:
    """Return how uvicorn serves the application; `listen`: host, port, certificate."""
    return uvicorn.Config(
        app,
        ws=Socket,
        # Whoever starts the server sets the log up; observability/requests.py logs requests.
        log_config=None,
        access_log=False,
        ws_max_size=settings.max_message_bytes,
        # Base64 sound gains little by compression, and a compressed bomb is not let in.
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=5,
        # Longer than proxies and HTTP clients keep an idle connection, so that they end it.
        timeout_keep_alive=75,
        **listen,
    )


class DrainingServer(uvicorn.Server):
    """The first SIGTERM or SIGINT drains; the next one stops at once."""

    def __init__(self, config: uvicorn.Config, drain: Drain) -> None:
        super().__init__(config)
        self._drain = drain

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, and settle the process first."""
        calm()
        await super().startup(sockets)
        secure = "https" if self.config.is_ssl else "http"
        for listener in self.servers:
            for host, port in {at.getsockname()[:2] for at in listener.sockets}:
                shown = f"[{host}]" if ":" in host else host
                _LOG.info("listening", extra={"url": f"{secure}://{shown}:{port}"})

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Carry out a signal."""
        if self._drain.begun:
            super().handle_exit(sig, frame)
        else:
            self._drain.begin(lambda: super(DrainingServer, self).handle_exit(sig, frame))
