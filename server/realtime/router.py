"""The websocket route of /v1/realtime: who gets a session, new or resumed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter
from starlette.websockets import WebSocket

from server.admission.client_secrets import REFUSALS, ClientSecrets
from server.admission.limits import ServerSettings, Slots, client_secret, deny
from server.admission.pace import Flooded
from server.admission.place import Place
from server.admission.sessions import Admission
from server.http.errors import RequestError, error_response
from server.http.websocket import chosen_subprotocol
from server.observability.meter import TurnMeter
from server.observability.spans import TurnSpans
from server.observability.trace import TraceWriter
from server.observability.turns import TurnTimes
from server.observability.watch import Watch, Watches
from server.realtime.connection.registry import SessionRegistry
from server.realtime.connection.session_host import GONE, TRY_LATER, SessionHost
from server.realtime.wire.response_events import error_event
from server.realtime.wire.session_config import SessionConfig
from server.realtime.wire.versions.negotiate import STATELESS, asked_version, version_of
from step_audio.core.errors import Overloaded
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.ids import new_id

RESUME: Final = "step-audio-resume"
TRACE: Final = "step-audio-trace"
POLICY: Final = 1008
TOO_LARGE: Final = 1009
BROKEN: Final = 1011
_TELL_S: Final = 1.0
_SLOW_CLIENT_S: Final = 0.2
"""A turn in which events waited so long for the client tells nothing of the machine."""
_REASONS: Final = {
    1009: "the message is too large",
    1011: "internal error; see the server's log",
    1012: "the server is leaving; connect again",
    1013: "nothing was read for too long; read faster, or try again later",
}


@dataclass(frozen=True, slots=True)
class ServerContext:
    """What the sessions of one server share."""

    assistant: Assistant
    settings: ServerSettings
    slots: Slots
    registry: SessionRegistry
    admission: Admission
    secrets: ClientSecrets
    tracer: Any = None
    """Of OpenTelemetry, None for no spans."""


def realtime_router(context: ServerContext) -> APIRouter:
    """Return the websocket routes; a session holds one of the slots while a socket is there."""
    router = APIRouter()

    async def serve_socket(socket: WebSocket, dialect: str | None) -> None:
        wish = _wish(socket.scope.get("subprotocols", ()))
        if wish is not None and wish[0]:
            await _resume(socket, context, *wish)
            return
        place = Place(lambda held: _admit(context, held))
        if not await _let_in(socket, context, place):
            return
        secret = client_secret(socket.headers)
        config = context.secrets.spend(secret) if secret else None
        if secret and config is None:  # another socket was quicker
            place.free()
            code, message = REFUSALS["spent"]
            await deny(socket, error_response(401, message, code=code))
            return
        host = _host(socket, context, dialect, place, resumable=wish is not None, config=config)
        context.registry.begin(host)
        try:
            await _accept(socket)
        except BaseException:
            host.end()  # nobody knows of it
            raise
        await _serve(socket, context, host)
        if host.token is None:
            await host.finished.wait()

    @router.websocket("/v1/realtime")
    async def realtime(socket: WebSocket) -> None:
        offered = socket.scope.get("subprotocols", ())
        await serve_socket(socket, asked_version(socket.headers, offered))

    @router.websocket("/v1/realtime/stateless")
    async def stateless(socket: WebSocket) -> None:
        await serve_socket(socket, STATELESS)

    return router


def _admit(context: ServerContext, held: ExitStack) -> None:
    """Take a slot. Raises Overloaded: the machine has no room for one more."""
    recorder, slots = context.assistant.services.recorder, context.slots
    allowed = context.settings.max_sessions
    if context.settings.measured:
        allowed = context.admission.allowed(slots.taken, time.monotonic())
    recorder.observe("session_limit", allowed)
    if slots.taken >= allowed:
        raise Overloaded(f"{slots.taken} sessions are all that runs smoothly; try again later")
    held.enter_context(slots.take())


async def _let_in(socket: WebSocket, context: ServerContext, place: Place) -> bool:
    """Take a place, or refuse the socket; return whether there was one."""
    try:
        place.take()
    except Overloaded as full:
        context.assistant.services.recorder.observe("guard_stops.full", 1)
        await deny(socket, error_response(503, str(full), code=full.code))
        return False
    return True


def _host(
    socket: WebSocket,
    context: ServerContext,
    dialect: str | None,
    place: Place,
    *,
    resumable: bool,
    config: SessionConfig | None,
) -> SessionHost:
    held_s = 0.0

    def learn(turn: TurnTimes, now_s: float) -> None:
        nonlocal held_s
        waited_s, held_s = host.held_s - held_s, host.held_s
        if waited_s > _SLOW_CLIENT_S:  # its network was measured, not this machine
            return
        if turn.status == "completed" and turn.rtf is not None:
            dry, taken = bool(turn.dry_s), context.slots.taken
            context.admission.answered(turn.rtf, dry=dry, sessions=taken, now_s=now_s)

    meter = TurnMeter(context.assistant.services.recorder, time.monotonic(), learn)
    watches: list[Watch] = [meter]
    traces, offered = context.settings.traces, socket.scope.get("subprotocols", ())
    if traces is not None and TRACE in offered:
        model = context.assistant.services.model_name
        watches.append(TraceWriter(traces, model, time.monotonic(), dialect=dialect))
    if context.tracer is not None:
        watches.append(TurnSpans(context.tracer, new_id()))
    version, watch = version_of(dialect), Watches(watches)
    wanted = socket.query_params.get("intent") == "transcription"
    host = SessionHost(
        context.assistant,
        context.settings,
        watch,
        place,
        version=version,
        resumable=resumable,
        purpose="transcription" if wanted else "realtime",
        config=config,
    )
    return host


async def _resume(socket: WebSocket, context: ServerContext, token: str, last: str) -> None:
    recorder = context.assistant.services.recorder
    host = context.registry.find(token)
    if host is None:
        recorder.observe("resumes.unknown", 1)
        message = "no such session; it may be over: begin a new one"
        await deny(socket, error_response(404, message, code="session_not_found"))
        return
    # A socket that the server still takes for alive hands its place on; a client that was gone asks
    # for one like everybody else, and may come again while its session waits.
    if not await _let_in(socket, context, host.place):
        recorder.observe("resumes.full", 1)
        return
    try:
        await _accept(socket)
        recorder.observe("resumes.resumed", 1)
        await _serve(socket, context, host, last)
    finally:
        host.leave_place()


async def _accept(socket: WebSocket) -> None:
    offered = socket.scope.get("subprotocols", ())
    await socket.accept(subprotocol=chosen_subprotocol(offered))


async def _serve(
    socket: WebSocket, context: ServerContext, host: SessionHost, last: str | None = None
) -> None:
    observe, reason = context.assistant.services.recorder.observe, ""
    told: Exception | None = None
    try:
        code = await host.serve(socket, last)
    except Flooded as flood:
        observe("guard_stops.flood", 1)
        code, reason, told = POLICY, str(flood), flood
    except RequestError as refused:
        code, reason = POLICY, str(refused)
    except Overloaded as full:
        observe("guard_stops.full", 1)
        code, reason = TRY_LATER, str(full)
    if code == TRY_LATER and not reason:
        observe("guard_stops.slow", 1)
    elif code == TOO_LARGE:
        told = RequestError(_REASONS[code], code="message_too_large")
    elif code == BROKEN:
        told = RuntimeError()
    if told is not None:
        await _tell(socket, told)
    if code is not None:
        # The client may have closed first.
        with contextlib.suppress(*GONE, RuntimeError):
            await socket.close(code, reason or _REASONS.get(code))


async def _tell(socket: WebSocket, error: Exception) -> None:
    """Say why the socket is closed next, if the client still reads; also its reason says so."""
    event = {"event_id": f"event_{new_id()}", **error_event(error, event_id=None)}
    with contextlib.suppress(*GONE, RuntimeError, TimeoutError):
        async with asyncio.timeout(_TELL_S):
            await socket.send_text(json.dumps(event))


def _wish(subprotocols: Sequence[str]) -> tuple[str, str] | None:
    """Return (token, last event) of a resumption, empty for a first call; None: no wish.

    A subprotocol, because browsers cannot set headers and addresses are written into logs.
    """
    for offered in subprotocols:
        name, _, rest = offered.partition(".")
        if name == RESUME:
            token, _, last = rest.partition(".")
            return token, last
    return None
