"""The application: routes, limits, errors and the page, around one `Assistant`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from server.admission.client_secrets import ClientSecrets
from server.admission.drain import Drain
from server.admission.limits import AccessControl, ServerSettings, Slots, deny
from server.admission.origins import Heads, Origins, Pages
from server.admission.sessions import Admission
from server.http import errors
from server.http.described import DescribedApi
from server.observability.metrics import Metrics, metrics_router
from server.observability.requests import RequestLog
from server.realtime.client_secrets import client_secrets_router
from server.realtime.connection.registry import SessionRegistry
from server.realtime.router import ServerContext, realtime_router
from server.routes.health import health_router
from server.routes.rest import rest_router
from server.voice_names import VoiceNames
from step_audio import __version__
from step_audio.core.ports import RemoteTools
from step_audio.dialog.assistant import Assistant

_PACKAGED: Final = Path(__file__).resolve().with_name("page")
WEB: Final = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).resolve().parents[1] / "web"
"""The page: in an installed package a copy inside of it (setup.py), else the folder `web`."""

_PAGE_HEADERS: Final = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        b"img-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"microphone=(self)"),
)


class PageHeaders:
    """ASGI middleware that tells browsers what our page may do: nothing foreign."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *_PAGE_HEADERS]}
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


class Unrouted:
    """What no route takes: the files of the page, and 404 for all else.

    Not a mount: that would take every path, and with it the wrong methods of other routes.
    """

    def __init__(self, web: Path | None) -> None:
        self._files = StaticFiles(directory=web, html=True) if web is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            refusal = errors.error_response(
                404, f"no socket at {scope['path']}; /v1/realtime is one", code="not_found"
            )
            await deny(WebSocket(scope, receive, send), refusal)
        elif self._files is not None and scope["method"] in ("GET", "HEAD"):
            await self._files(scope, receive, send)
        else:
            raise HTTPException(404)


def create_app(
    assistant: Assistant,
    settings: ServerSettings = ServerSettings(),  # noqa: B008 - frozen
    *,
    metrics: Metrics | None = None,
    tracer: Any = None,
    web: Path | None = WEB,
) -> FastAPI:
    """Return the ASGI application.

    Args:
        assistant: closed when the application shuts down.
        settings: limits and keys.
        metrics: served at /metrics; give the assistant's services the same as their recorder.
        tracer: of OpenTelemetry; each turn becomes a span.
        web: folder of the page served at /; None, or a folder that is not there, for none.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        drain.watch()
        assistant.services.sound_decoder.start(assistant.services.recorder.observe)
        tools = assistant.services.tools
        if not isinstance(tools, RemoteTools):
            yield
        else:
            # A tool server that is slow or away must not keep the others waiting.
            starting = asyncio.create_task(tools.start(), name="tools.start")
            yield
            starting.cancel()
            await asyncio.wait([starting])
            await tools.aclose()
        await lines.close()
        await assistant.aclose()

    lines = SessionRegistry()
    secrets = ClientSecrets()
    drain = Drain(lines, settings.drain_s)
    origins = Origins(settings.origins, keyed=bool(settings.keys))
    gate = Middleware(
        AccessControl,
        settings=settings,
        recorder=assistant.services.recorder,
        closed=lambda: drain.begun,
        secrets=secrets,
    )
    app = DescribedApi(
        title="step-audio",
        lifespan=lifespan,
        version=__version__,
        # The generated pages load scripts from elsewhere; /docs is a page of our own.
        docs_url=None,
        redoc_url=None,
        middleware=[
            Middleware(RequestLog, recorder=assistant.services.recorder),
            Middleware(PageHeaders),
            Middleware(Pages, origins=origins),
            gate,
            Middleware(Heads),
        ],
    )
    app.state.drain = drain
    app.state.admission = admission = Admission(settings.max_sessions)
    errors.install(app)
    # Counted apart, so that four chapters of a book do not keep a person out; what is read gives
    # way to what is said, in the LM and in the voice.
    observe = assistant.services.recorder.observe
    slots = Slots(settings.max_sessions, observe=lambda taken: observe("sessions", taken))
    requests = Slots(settings.max_sessions)
    app.include_router(health_router(assistant, drain))
    if metrics is not None:
        app.include_router(metrics_router(metrics))
    app.include_router(rest_router(assistant, settings, slots, requests))
    names = VoiceNames(assistant, settings.voice_names)
    app.include_router(client_secrets_router(assistant, names, secrets))
    app.include_router(
        realtime_router(
            ServerContext(assistant, settings, slots, lines, admission, secrets, tracer)
        )
    )
    app.router.default = Unrouted(web if web is not None and web.is_dir() else None)
    return app
