"""What is let in: hosts, origins, keys, sizes, and how many sessions at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket
from structlog.contextvars import bind_contextvars

from server.admission.client_secrets import PREFIX, REFUSALS, ClientSecrets
from server.admission.origins import Origins
from server.admission.pace import PaceLimits
from server.http.errors import error_response
from step_audio.core.errors import Overloaded
from step_audio.core.keys import Keyring
from step_audio.core.ports import Recorder

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
REALTIME: Final = frozenset({"/v1/realtime", "/v1/realtime/stateless"})
RESUMED: Final = "step-audio-resume."
KEY_PROTOCOL: Final = "openai-insecure-api-key."
PROBES: Final = frozenset({"/healthz", "/readyz"})
UPLOADS: Final = frozenset(
    {
        "/v1/audio/transcriptions",
        "/v1/audio/translations",
        "/v1/audio/voices",
        "/v1/chat/completions",
    }
)
"""Routes that take sound."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What an operator tunes.

    Attributes:
        keys: one of them is asked of every request under /v1, and for /metrics unless
            `open_metrics`; an empty ring lets everybody on `hosts` in.
        hosts: names the server answers to, without port; empty for any. The default keeps a
            web page elsewhere from reaching a loopback server under a name of its own. Health
            probes, and /metrics when open, are answered under any name.
        origins: pages elsewhere that may talk to this server, `https://name:port` each.
        open_metrics: whether /metrics is read without a key.
        pace: how fast one socket may send.
        max_sessions: sockets at a time, and as many requests that speak or listen.
        measured: whether fewer are let in while answers show that the machine is full.
        max_body_bytes: longest HTTP body, except where sound is sent in.
        max_upload_bytes: longest HTTP body with sound.
        voice_names: which voice a name of a client means, before OpenAI's and StepFun's.
        max_message_bytes: longest websocket message: 15 MiB of sound as base64, and its frame.
        send_timeout_s: a client that takes nothing for so long is dropped.
        idle_timeout_s: a session in which nothing happens for so long is ended.
        session_timeout_s: longest session. Both are told `warning_s` before.
        traces: folder for traces of sessions that ask for one; None: there are none.
        resume_window_s: so long a session waits for a client whose socket dropped.
        drain_s: so long an answer under way may go on after SIGTERM.
    """

    keys: Keyring = field(default_factory=lambda: Keyring({}))
    hosts: frozenset[str] = LOOPBACK
    origins: frozenset[str] = frozenset()
    open_metrics: bool = False
    pace: PaceLimits = field(default_factory=PaceLimits)
    max_sessions: int = 4
    measured: bool = False
    max_body_bytes: int = 1 << 20
    max_upload_bytes: int = 25 << 20
    voice_names: Mapping[str, str] = field(default_factory=dict)
    max_message_bytes: int = 21 << 20
    send_timeout_s: float = 30.0
    idle_timeout_s: float = 900.0
    session_timeout_s: float = 3600.0
    warning_s: float = 30.0
    traces: Path | None = None
    resume_window_s: float = 60.0
    drain_s: float = 15.0


class Slots:
    """So many at a time; whoever can wait stands in line.

    Args:
        limit: how many at a time.
        max_waiting: longest line.
        observe: is told how many are taken, whenever that changes.
    """

    def __init__(
        self,
        limit: int,
        *,
        max_waiting: int = 64,
        observe: Callable[[int], None] = lambda taken: None,
    ) -> None:
        self._limit, self._max_waiting, self._observe = limit, max_waiting, observe
        self._line: deque[asyncio.Future[None]] = deque()
        self.taken = 0

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold one slot. Raises Overloaded: none is free."""
        if self.taken >= self._limit:
            raise Overloaded(f"all {self._limit} sessions are in use; try again later")
        self._count(1)
        try:
            yield
        finally:
            self._free()

    @asynccontextmanager
    async def wait(self, timeout_s: float = 60.0) -> AsyncIterator[None]:
        """Hold one slot as soon as one is free, first come first served.

        Raises:
            Overloaded: the line is full, or none was free for `timeout_s`.
        """
        if self.taken < self._limit:
            self._count(1)
        else:
            await self._stand_in_line(timeout_s)
        try:
            yield
        finally:
            self._free()

    async def _stand_in_line(self, timeout_s: float) -> None:
        if len(self._line) >= self._max_waiting:
            raise Overloaded(f"{self._max_waiting} requests wait already; try again later")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            async with asyncio.timeout(timeout_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._free()  # it came in the very moment in which we gave up
            elif turn in self._line:
                self._line.remove(turn)
            if isinstance(error, TimeoutError):
                raise Overloaded(f"no session was free for {timeout_s:g} s; try again") from None
            raise

    def _free(self) -> None:
        """Hand a slot to the first in line, or keep it."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._count(-1)

    def _count(self, change: int) -> None:
        self.taken += change
        self._observe(self.taken)


class AccessControl:
    """ASGI middleware in front of everything: refuses before any route is asked."""

    def __init__(
        self,
        app: ASGIApp,
        settings: ServerSettings,
        recorder: Recorder,
        closed: Callable[[], bool] = lambda: False,
        secrets: ClientSecrets | None = None,
    ) -> None:
        """Args: `closed` tells whether nobody new is let in; `secrets` open realtime sessions."""
        self._app, self._closed, self._secrets = app, closed, secrets
        self._settings = settings
        self._origins = Origins(settings.origins, keyed=bool(settings.keys))
        self._recorder = recorder

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
            await self._app(scope, _bounded(receive, self._longest_body(scope)), send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_named(scope["path"], host):
            message = (
                "without a key this server answers to the names in server.hosts alone, which are"
                " those of its own machine unless the profile says others; add the name that you"
                " call it by, or make a key (step-audio key)"
            )
            return self._stop("host", 403, message, "forbidden")
        if origin and self._is_foreign(scope, origin, host):
            return self._stop("origin", 403, f"requests from {origin} are refused", "forbidden")
        if (refusal := self._key_refused(scope, headers)) is not None:
            return refusal
        if self._closed() and scope["path"].startswith("/v1/"):
            return self._stop("draining", 503, "the server is leaving; try again later", "draining")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._longest_body(scope):
            return self._stop("size", 413, "the request body is too large", "request_too_large")
        return None

    def _is_named(self, path: str, host: str) -> bool:
        """Whether the request names this server, or asks for what is told to anybody.

        Orchestrators probe and scrape by address, which no list can foresee.
        """
        hosts, told = self._settings.hosts, self._settings.open_metrics and path == "/metrics"
        return not hosts or told or path in PROBES or _hostname(host) in hosts

    def _longest_body(self, scope: Scope) -> int:
        with_sound = scope["path"] in UPLOADS
        return self._settings.max_upload_bytes if with_sound else self._settings.max_body_bytes

    def _stop(self, reason: str, status: int, message: str, code: str) -> JSONResponse:
        self._recorder.observe(f"guard_stops.{reason}", 1)
        bind_contextvars(refused=reason)  # for the log
        return error_response(status, message, code=code)

    def _is_foreign(self, scope: Scope, origin: str, host: str) -> bool:
        """Whether a page elsewhere asks for more than to look.

        Any page in the browser can reach 127.0.0.1; only our own page names our host.
        """
        careful = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        return careful and not self._origins.may_ask(origin, host)

    def _key_refused(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        secret = client_secret(headers)
        if secret is not None:
            return self._secret_refused(scope, secret)
        if self._key_fits(scope, headers):
            return None
        message = "wrong or missing key; send Authorization: Bearer KEY"
        return self._stop("key", 401, message, "invalid_api_key")

    def _secret_refused(self, scope: Scope, value: str) -> JSONResponse | None:
        if scope["path"] not in REALTIME:
            said = "a client secret opens /v1/realtime and nothing else"
            return self._stop("key", 401, said, "invalid_api_key")
        if self._secrets is None:
            return self._stop("key", 401, *reversed(REFUSALS["unknown"]))
        resuming = any(offered.startswith(RESUMED) for offered in scope.get("subprotocols", ()))
        state = self._secrets.state(value, resuming=resuming)
        if state != "good":
            return self._stop("key", 401, *reversed(REFUSALS[state]))
        if (owner := self._secrets.owner(value)) is not None:
            bind_contextvars(key=owner)
        return None

    def _key_fits(self, scope: Scope, headers: Headers) -> bool:
        path = scope["path"]
        asked = path.startswith("/v1/") or (path == "/metrics" and not self._settings.open_metrics)
        if not self._settings.keys or not asked:
            return True
        owner = next(filter(None, map(self._settings.keys.owner, _keys(headers))), None)
        if owner is not None:
            bind_contextvars(key=owner)  # for the log
            scope.setdefault("state", {})["key"] = owner
        return owner is not None


def _keys(headers: Mapping[str, str]) -> list[str]:
    """Return the keys that a client offers; browsers can only offer one as a subprotocol."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    offered = [p.strip() for p in headers.get("sec-websocket-protocol", "").split(",")]
    keys = [p.removeprefix(KEY_PROTOCOL) for p in offered if p.startswith(KEY_PROTOCOL)]
    if scheme.lower() == "bearer":
        keys.append(token.strip())
    return [*keys, headers.get("api-key", "")]


def client_secret(headers: Mapping[str, str]) -> str | None:
    """Return the client secret that a request offers as its key, None without one."""
    return next((key for key in _keys(headers) if key.startswith(PREFIX)), None)


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


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
