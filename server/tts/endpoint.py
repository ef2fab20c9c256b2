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

from server.errors import error_response
from server.limits import ServerSettings, Slots, deny
from server.pace import Flooded, Pace
from server.tts.session import SpeechSession
from server.voices import VoiceNames
from step_audio.core.errors import Overloaded
from step_audio.dialog.session import Assistant

_LOG = logging.getLogger(__name__)

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
                await socket.accept()
                code = await _serve(socket, assistant, settings, names)
            if code is not None:
                with contextlib.suppress(*_GONE, RuntimeError):  # the client may have closed first
                    await socket.close(code)
        except Overloaded as full:
            await deny(socket, error_response(503, str(full), code=full.code))

    return router


async def _serve(
    socket: WebSocket, assistant: Assistant, settings: ServerSettings, names: VoiceNames
) -> int | None:
    """Follow one client; return the close code, None when it has gone."""

    async def send(event: dict[str, Any]) -> None:
        async with asyncio.timeout(settings.send_timeout_s):
            await socket.send_text(json.dumps(event))

    session = SpeechSession(assistant, names, send)
    try:
        await session.open()
        return await _read(socket, session, settings)
    except Flooded:
        assistant.services.recorder.observe("guard_stops.flood", 1)
        return 1008
    except (*_GONE, TimeoutError):
        return None
    except Exception:
        _LOG.exception("speech socket failed")
        return 1011
    finally:
        await session.close()


async def _read(socket: WebSocket, session: SpeechSession, settings: ServerSettings) -> int | None:
    pace = Pace(settings.pace)
    while True:
        try:
            async with asyncio.timeout(settings.idle_timeout_s):
                message = await socket.receive()
        except TimeoutError:
            return 1000
        if message["type"] == "websocket.disconnect":
            return None
        text = message.get("text")
        if len(text or "") > settings.max_body_bytes:
            return 1009
        if wait_s := pace.hold(len(text or message.get("bytes") or b""), time.monotonic()):
            await asyncio.sleep(wait_s)
        await session.handle(text or "")
