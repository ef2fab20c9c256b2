"""Web pages elsewhere: which of them may talk to this server, and what their browsers are told.

A browser asks before it sends a page's request to another server (a preflight), and keeps the
answer from the page unless the server names the page (CORS). Which pages may ask is decided by
`Origins` alone; `Gate` refuses the others.
"""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

EXPOSED: Final = "retry-after, step-audio-warnings"
"""Headers of an answer that pages elsewhere may read."""

_ASKED: Final = "access-control-request-"
_NAMES: Final = re.compile(r"[\w, -]{1,1000}")


class Origins:
    """Which pages may ask.

    Args:
        listed: `https://name:port` each.
        keyed: whether requests need a key. A key is nothing that a browser adds by itself, so it
            speaks for its page, unless the operator lists the pages.
    """

    def __init__(self, listed: Set[str], *, keyed: bool) -> None:
        self._listed, self._any = listed, keyed and not listed

    def may_ask(self, origin: str, host: str) -> bool:
        """Return whether a page of `origin` may ask a server that it calls `host`."""
        return self._any or self.is_own(origin, host) or origin.lower() in self._listed

    @staticmethod
    def is_own(origin: str, host: str) -> bool:
        """Return whether the page came from this server."""
        try:
            return urlsplit(origin).netloc.lower() == host.lower()
        except ValueError:
            return False


class Pages:
    """ASGI middleware that tells browsers which pages elsewhere may ask and read."""

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        self._app, self._origins = app, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight, and name the page in the answer to its request."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        origin, host = headers.get("origin", ""), headers.get("host", "")
        if not origin or not self._origins.may_ask(origin, host):
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS" and f"{_ASKED}method" in headers:
            await _preflight(origin, headers)(scope, receive, send)
        else:

            async def named(message: Message) -> None:
                if message["type"] == "http.response.start":
                    answer = MutableHeaders(scope=message)
                    answer["access-control-allow-origin"] = origin
                    answer["access-control-expose-headers"] = EXPOSED
                    answer.add_vary_header("origin")
                await send(message)

            await self._app(scope, receive, named)


def _preflight(origin: str, asked: Headers) -> Response:
    """Return what a page's request may look like: as it was asked, for ten minutes."""
    told = {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": "GET, HEAD, POST, DELETE",
        "access-control-max-age": "600",
        "vary": "origin",
    }
    wanted = asked.get(f"{_ASKED}headers", "")
    if _NAMES.fullmatch(wanted):
        told["access-control-allow-headers"] = wanted
    if asked.get(f"{_ASKED}private-network") == "true":
        # A public page that asks a server on the user's own machine.
        told["access-control-allow-private-network"] = "true"
    return Response(status_code=204, headers=told)


class Heads:
    """ASGI middleware: HEAD is GET without the body, as every monitor expects."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on; drop what a HEAD did not ask for."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def bare(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, bare)
