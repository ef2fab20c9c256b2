"""What is let in: hosts, origins, keys, sizes, and how many sessions at a time."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from server.errors import error_response
from step_audio.core.errors import Overloaded

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
KEY_PROTOCOL: Final = "openai-insecure-api-key."


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What an operator tunes.

    Attributes:
        api_key: asked of every request under /v1; None lets everybody on `hosts` in.
        hosts: names the server answers to, without port; empty for any. The default keeps a
            web page elsewhere from reaching a loopback server under a name of its own.
        max_sessions: realtime sockets and speech requests at a time.
        max_body_bytes: longest HTTP body.
        max_message_bytes: longest websocket message.
        send_timeout_s: a client that takes nothing for so long is dropped.
        idle_timeout_s: a socket that says nothing for so long is closed.
    """

    api_key: str | None = None
    hosts: frozenset[str] = LOOPBACK
    max_sessions: int = 4
    max_body_bytes: int = 1 << 20
    max_message_bytes: int = 8 << 20
    send_timeout_s: float = 30.0
    idle_timeout_s: float = 900.0


class Slots:
    """So many at a time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold one slot. Raises Overloaded: none is free."""
        if self.taken >= self._limit:
            raise Overloaded(f"all {self._limit} sessions are in use; try again later")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


class Gate:
    """ASGI middleware in front of everything: refuses before any route is asked."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None and scope["type"] == "http":
            await refusal(scope, receive, send)
        elif refusal is not None:
            await deny(WebSocket(scope, receive, send), refusal)
        elif scope["type"] == "http":
            await self._app(scope, _bounded(receive, self._settings.max_body_bytes), send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._settings.hosts and _hostname(host) not in self._settings.hosts:
            return error_response(403, "this server has another name", code="forbidden")
        # Any page in the browser can reach 127.0.0.1; only our own page names our host.
        origin = headers.get("origin")
        careful = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if self._settings.api_key is None and careful and origin and not _same(origin, host):
            return error_response(403, f"requests from {origin} are refused", code="forbidden")
        if not self._key_fits(scope["path"], headers):
            return error_response(
                401, "wrong or missing key; send Authorization: Bearer KEY", code="invalid_api_key"
            )
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._settings.max_body_bytes:
            return error_response(413, "the request body is too large", code="request_too_large")
        return None

    def _key_fits(self, path: str, headers: Headers) -> bool:
        key = self._settings.api_key
        if key is None or not path.startswith("/v1/"):
            return True
        return any(secrets.compare_digest(key.encode(), given.encode()) for given in _keys(headers))


def _keys(headers: Mapping[str, str]) -> list[str]:
    """Return the keys that a client offers; browsers can only offer one as a subprotocol."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    offered = [p.strip() for p in headers.get("sec-websocket-protocol", "").split(",")]
    keys = [p.removeprefix(KEY_PROTOCOL) for p in offered if p.startswith(KEY_PROTOCOL)]
    if scheme.lower() == "bearer":
        keys.append(token.strip())
    return [*keys, headers.get("api-key", "")]


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _same(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def _bounded(receive: Receive, limit: int) -> Receive:
    """Return `receive` that refuses a body longer than `limit`, announced or not."""
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise HTTPException(413, "the request body is too large")
        return message

    return bounded


async def deny(socket: WebSocket, refusal: JSONResponse) -> None:
    """Refuse an upgrade with an HTTP response where the server can, else by closing."""
    if "websocket.http.response" in socket.scope.get("extensions", {}):
        await socket.send_denial_response(refusal)
    else:
        await socket.close(1008)
