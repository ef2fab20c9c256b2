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
from server.http.websocket import TOO_LONG, chosen_subprotocol
from server.routes.tts.session import SpeechSession
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

    async def send(event: dict[str, Any]) -> None:
        async with asyncio.timeout(settings.send_timeout_s):
            await socket.send_text(json.dumps(event))

    session = SpeechSession(assistant, names, send)
    try:
        await session.open()
        return await _read(socket, session, settings)
    except Flooded as flood:
        assistant.services.recorder.observe("guard_stops.flood", 1)
        return 1008, str(flood)
    except (*_GONE, TimeoutError):
        return None
    except Exception:
        _LOG.exception("speech socket failed")
        return _FAILED
    finally:
        await session.close()


async def _read(
    socket: WebSocket, session: SpeechSession, settings: ServerSettings
) -> Close | None:
    pace = Pace(settings.pace)
    while True:
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
        if len(text or "") > settings.max_body_bytes or TOO_LONG in message:
            said = f"a message may have {settings.max_body_bytes} characters"
            await session.fail(RequestError(said, code="message_too_large"))
            return 1009, said
        if wait_s := pace.hold(len(text or message.get("bytes") or b""), time.monotonic()):
            await asyncio.sleep(wait_s)
        await session.handle(text or "")
