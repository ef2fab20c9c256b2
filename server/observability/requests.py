"""One log line and a few figures for each request: the outermost middleware."""

from __future__ import annotations

import logging
import re
import time
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from server.admission.limits import PROBES
from step_audio.core.ports import Recorder
from step_audio.dialog.ids import new_id

_LOG = logging.getLogger(__name__)

REQUEST_ID: Final = "x-request-id"
_SAFE: Final = re.compile(r"[\w.:-]{1,64}")
_OTHER: Final = "other"


class RequestLog:
    """ASGI middleware that names each request, logs its end and counts it.

    A client may bring the name (`x-request-id`); the answer has it in any case. What probes and
    scrapers ask, and the page's files, are logged at `debug`.
    """

    def __init__(self, app: ASGIApp, recorder: Recorder) -> None:
        self._app, self._observe = app, recorder.observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request = _given_id(scope) or new_id()
        with bound_contextvars(request=request):
            if scope["type"] == "websocket":
                await self._app(scope, receive, send)
            else:
                await self._http(scope, receive, send, request)

    async def _http(self, scope: Scope, receive: Receive, send: Send, request: str) -> None:
        begun_s = time.monotonic()
        status, first_s = 500, None
        header = (REQUEST_ID.encode(), request.encode())

        async def watched(message: Message) -> None:
            nonlocal status, first_s
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", []), header]}
            elif first_s is None and message.get("body"):
                first_s = time.monotonic() - begun_s
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            self._ended(scope, status, first_s, time.monotonic() - begun_s)

    def _ended(self, scope: Scope, status: int, first_s: float | None, took_s: float) -> None:
        path = scope["path"]
        facts: dict[str, Any] = {
            "method": scope["method"],
            # Cut and spelled out: a path is whatever a stranger sends.
            "path": repr(path[:200])[1:-1],
            "status": status,
            "ms": round(took_s * 1e3, 1),
        }
        if first_s is not None:
            facts["first_byte_ms"] = round(first_s * 1e3, 1)
        quiet = status < 400 and (path in PROBES or not path.startswith("/v1/"))
        quiet = quiet or path in PROBES  # a pod that is not ready is asked every few seconds
        _LOG.log(logging.DEBUG if quiet else logging.INFO, "request", extra=facts)
        if path.startswith("/v1/"):
            # A pattern, not a path: strangers' paths would be series without end.
            # "/{name}" without the kind of its value.
            route = getattr(scope.get("route"), "path_format", _OTHER)
            self._observe(f"requests.{route}.{status}", 1)
            self._observe(f"request_s.{route}", took_s)
            if first_s is not None:
                self._observe(f"first_byte_s.{route}", first_s)


def _given_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == REQUEST_ID.encode():
            given: str = value.decode("latin-1")
            return given if _SAFE.fullmatch(given) else None
    return None
