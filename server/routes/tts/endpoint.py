"""The socket of /v1/realtime/audio: limits as those of /v1/realtime."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from typing import Any, Final

from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect

from server.admission.limits import ServerSettings, Slots, deny
from server.admission.pace import Flooded, Pace
from server.http.errors import RequestError, error_response
from server.http.inbox import Inbox
from server.http.websocket import TOO_LONG, chosen_subprotocol
from server.routes.tts.session import ClientLost, SpeechSession
from server.voice_names import VoiceNames
from step_audio.core.errors import Overloaded
from step_audio.dialog.assistant import Assistant

_LOG = logging.getLogger(__name__)

_FAILED: Final = (1011, "internal error; see the server's log")

Close = tuple[int, str]
"""Code and reason."""

_GONE: Final = (WebSocketDisconnect, OSError)


def tts_router(
    assistant: Assistant, settings: ServerSettings, slots: Slots, names: VoiceNames
) -> APIRouter:
    """Return the websocket route; a socket holds one of `slots` as long as it is open."""
    router = APIRouter()

    @router.websocket("/v1/realtime/audio")
    async def speech(socket: WebSocket) -> None:
        try:
            with slots.take():
                offered = socket.scope.get("subprotocols", ())
                await socket.accept(chosen_subprotocol(offered))
                end = await _serve(socket, assistant, settings, names)
            if end is not None:
                with contextlib.suppress(*_GONE, RuntimeError):  # the client may have closed first
                    await socket.close(*end)
        except Overloaded as full:
            await deny(socket, error_response(503, str(full), code=full.code))

    return router


async def _serve(
    socket: WebSocket, assistant: Assistant, settings: ServerSettings, names: VoiceNames
) -> Close | None:
    """Follow one client; return how to close, None when it has gone."""
    lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def send(event: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(settings.send_timeout_s):
                await socket.send_text(json.dumps(event))
        except (*_GONE, TimeoutError) as error:
            if not lost.done():
                lost.set_exception(error)
            raise ClientLost from error

    session, inbox = SpeechSession(assistant, names, send), Inbox(settings.max_body_bytes)
    reader = asyncio.create_task(_read(socket, session, inbox, settings), name="tts.socket")
    handler = asyncio.create_task(_handle(session, inbox), name="tts.events")
    try:
        ends: list[asyncio.Future[Any]] = [reader, handler, lost]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        # First, since a framework around us may cancel each wait anew.
        ending = [reader, handler, *session.tasks()]
        for task in ending:
            task.cancel()
        lost.cancel()
        await asyncio.wait(ending)
    return _close(assistant, reader, handler, lost)


def _close(
    assistant: Assistant,
    reader: asyncio.Task[Close | None],
    handler: asyncio.Task[None],
    lost: asyncio.Future[None],
) -> Close | None:
    """Return what the ends of a socket's tasks mean."""
    for end in (lost, reader, handler):
        match None if end.cancelled() else end.exception():
            case Flooded() as flood:
                assistant.services.recorder.observe("guard_stops.flood", 1)
                return 1008, str(flood)
            case TimeoutError():
                assistant.services.recorder.observe("guard_stops.slow", 1)
                return 1013, "nothing was read for too long; read faster, or try again later"
            case WebSocketDisconnect() | OSError() | ClientLost():
                return None
            case Exception() as error:
                _LOG.error("speech socket failed", exc_info=error)
                return _FAILED
    # A handler that was not told to stop ends only by a cancellation from within.
    return _FAILED if reader.cancelled() else reader.result()


async def _handle(session: SpeechSession, inbox: Inbox) -> None:
    """Carry out one message after the other."""
    await session.open()
    while True:
        await session.handle(await inbox.take() or "")


async def _read(
    socket: WebSocket, session: SpeechSession, inbox: Inbox, settings: ServerSettings
) -> Close | None:
    """Take messages until the client leaves, whatever the session is busy with. Raises Flooded."""
    pace = Pace(settings.pace)
    while True:
        await inbox.room()
        try:
            async with asyncio.timeout(settings.idle_timeout_s):
                message = await socket.receive()
        except TimeoutError:
            if session.is_busy:
                continue
            return 1000, f"nothing came for {settings.idle_timeout_s:g} s"
        if message["type"] == "websocket.disconnect":
            return None
        text = message.get("text")
        size = len(text or message.get("bytes") or b"")
        if size > settings.max_body_bytes or TOO_LONG in message:
            said = f"a message may have {settings.max_body_bytes} characters"
            await session.fail(RequestError(said, code="message_too_large"))
            return 1009, said
        if wait_s := pace.hold(size, time.monotonic()):
            await asyncio.sleep(wait_s)
        inbox.put(text, size)
