"""uvicorn, with a drain before it stops."""

from __future__ import annotations

from types import FrameType

import uvicorn

from server.drain import Drain


class DrainingServer(uvicorn.Server):
    """The first SIGTERM or SIGINT drains; the next one stops at once."""

    def __init__(self, config: uvicorn.Config, drain: Drain) -> None:
        super().__init__(config)
        self._drain = drain

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Carry out a signal."""
        if self._drain.begun:
            super().handle_exit(sig, frame)
        else:
            self._drain.begin(lambda: super(DrainingServer, self).handle_exit(sig, frame))
