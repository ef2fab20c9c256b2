"""The socket of /v1/realtime: one TaskGroup, a reader, a writer, limits on both."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from typing import Final

from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect

from server.errors import RequestError, error_response
from server.limits import ServerSettings, Slots, deny
from server.pace import Flooded, Pace
from server.realtime.outlet import Outlet
from server.realtime.session import RealtimeSession
from server.realtime.shapes.beta import Beta
from server.realtime.shapes.shape import Shape, marked_beta
from server.realtime.translate import error_event
from server.sight.meter import TurnMeter
from server.sight.watch import Watch
from step_audio.core.errors import Overloaded
from step_audio.dialog.session import Assistant

_LOG = logging.getLogger(__name__)

SUBPROTOCOL: Final = "realtime"
_GONE: Final = (WebSocketDisconnect, OSError)


def realtime_router(assistant: Assistant, settings: ServerSettings, slots: Slots) -> APIRouter:
    """Return the websocket route; a socket holds one of `slots` as long as it is open."""
    router = APIRouter()
    recorder = assistant.services.recorder

    @router.websocket("/v1/realtime")
    async def realtime(socket: WebSocket) -> None:
        try:
            with slots.take():
                offered = SUBPROTOCOL in socket.scope.get("subprotocols", ())
                await socket.accept(subprotocol=SUBPROTOCOL if offered else None)
                recorder.observe("sessions", slots.taken)
                await _serve(socket, assistant, settings)
            recorder.observe("sessions", slots.taken)
        except Overloaded as full:
            recorder.observe("guard_stops.full", 1)
            await deny(socket, error_response(503, str(full), code=full.code))

    return router


async def _serve(socket: WebSocket, assistant: Assistant, settings: ServerSettings) -> None:
    outlet = Outlet()
    recorder = assistant.services.recorder
    watch: Watch = TurnMeter(recorder, time.monotonic())
    code: int | None = 1000
    try:
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(_write(socket, outlet, settings, watch), name="socket.write")
            session = RealtimeSession(assistant, outlet, tasks, _shape(socket))
            try:
                code = await _read(socket, session, outlet, settings, watch)
            finally:
                await session.close()
                writer.cancel()
    except* _GONE:
        code = None
    except* Flooded:
        recorder.observe("guard_stops.flood", 1)
        code = 1008
    except* Exception:
        _LOG.exception("realtime session failed")
        code = 1011
    watch.ended(time.monotonic())
    if code is None:
        return
    with contextlib.suppress(*_GONE, RuntimeError):  # the client may have closed first
        await socket.close(code)


def _shape(socket: WebSocket) -> Shape | None:
    """Return the dialect that the upgrade asks for, None when it does not say."""
    return Beta() if marked_beta(socket.headers, socket.scope.get("subprotocols", ())) else None


async def _read(
    socket: WebSocket,
    session: RealtimeSession,
    outlet: Outlet,
    settings: ServerSettings,
    watch: Watch,
) -> int:
    """Handle messages until the client leaves; return the close code. Raises Flooded."""
    pace = Pace(settings.pace)
    while True:
        await outlet.room()
        try:
            async with asyncio.timeout(settings.idle_timeout_s):
                message = await socket.receive()
        except TimeoutError:
            return 1000
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        text = message.get("text")
        size = len(text or message.get("bytes") or b"")
        if size > settings.max_message_bytes:
            return 1009
        if wait_s := pace.hold(size, time.monotonic()):
            await asyncio.sleep(wait_s)
        if text is None:
            refused = RequestError("send text messages, sound as base64", code="invalid_json")
            outlet.send(error_event(refused, event_id=None))
        else:
            watch.received(text, time.monotonic())
            await session.handle(text)


async def _write(socket: WebSocket, outlet: Outlet, settings: ServerSettings, watch: Watch) -> None:
    while True:
        event = await outlet.take()
        watch.sent(event, time.monotonic())
        async with asyncio.timeout(settings.send_timeout_s):
            # ASCII, since what clients had echoed may hold half a surrogate pair.
            await socket.send_text(json.dumps(event))
