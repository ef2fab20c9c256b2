"""One session as a file: every message in and every event out, in the order of the socket.

Only where the operator names a folder (`server.traces`) and the client asks for it by offering the
subprotocol `step-audio-trace`: the file holds what the person said. The sound of answers is kept as
digests. JSON lines: a head with model and dialect, then `{"at_ms", "in"}` and `{"at_ms", "out"}`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from server.observability.turns import SOUND

_LOG = logging.getLogger(__name__)

VERSION: Final = 1
MAX_BYTES: Final = 256 << 20


class TraceWriter:
    """A `Watch` that writes. A disk that is full ends the trace, never the session."""

    def __init__(
        self, folder: Path, model: str, now_s: float, *, dialect: str | None = None
    ) -> None:
        """Open a file of a fresh name in `folder`, readable by its owner only.

        Args: `dialect`: that the upgrade asked for, which no message tells; None: it did not say.
        """
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        self.path = folder / f"{stamp}-{uuid4().hex[:12]}.trace.jsonl"
        self._began_s, self._bytes = now_s, 0
        try:
            self._file = self.path.open("x", encoding="utf-8", buffering=1)
            self.path.chmod(0o600)
        except OSError as error:
            _LOG.warning("no trace", extra={"error": error.strerror})
            self._bytes = MAX_BYTES
        else:
            self._write({"trace": VERSION, "model": model, "dialect": dialect})

    def received(self, text: str, now_s: float) -> None:
        """Keep a message as it came."""
        self._write({"at_ms": self._ms(now_s), "in": text})

    def sent(self, event: Mapping[str, Any], now_s: float) -> None:
        """Keep an event."""
        self._write({"at_ms": self._ms(now_s), "out": shortened(event)})

    def ended(self, now_s: float) -> None:
        """Close the file."""
        if self._bytes < MAX_BYTES:
            self._file.close()

    def _ms(self, now_s: float) -> float:
        return round((now_s - self._began_s) * 1000, 3)

    def _write(self, record: Mapping[str, Any]) -> None:
        if self._bytes >= MAX_BYTES:
            return
        line = json.dumps(record) + "\n"
        self._bytes += len(line)
        try:
            self._file.write(line)
            if self._bytes >= MAX_BYTES:
                self._file.close()
        except OSError as error:
            _LOG.warning("trace ended", extra={"error": error.strerror})
            self._bytes = MAX_BYTES


def shortened(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event with a digest in place of its sound."""
    if event["type"] not in SOUND:
        return dict(event)
    digest = hashlib.sha256(event["delta"].encode()).hexdigest()[:16]
    return {**event, "delta": f"sha256:{digest}:{len(event['delta'])}"}
