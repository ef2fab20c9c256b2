"""A session and the sockets it is spoken over: they may come and go, it stays.

Whoever offers the subprotocol `step-audio-resume` is told a token after `session.created`. When
the socket drops, the session lives on for a while, without a place among the server's sessions:
answers go on as far as the send queue has room, tools keep running. A socket that offers
`step-audio-resume.TOKEN.EVENT`, EVENT being the last event that arrived, takes it over if there is
a place for it, and gets what comes after that event, each event once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import time
from collections import deque
from typing import Any, Final

from starlette.websockets import WebSocket, WebSocketDisconnect
from structlog.contextvars import bind_contextvars

from server.admission.limits import ServerSettings
from server.admission.pace import Flooded, Pace
from server.admission.place import Place
from server.http.errors import RequestError
from server.http.inbox import Inbox
from server.http.websocket import TOO_LONG
from server.observability.watch import Watch
from server.realtime.connection.expiry import (
    EXPIRED,
    WARNING,
    Due,
    Expiry,
    ExpiryLimits,
    expired_event,
    warning_event,
)
from server.realtime.session.dispatch import RealtimeSession
from server.realtime.session.send_queue import ReplayBuffer, SendQueue
from server.realtime.wire.client_events import Purpose
from server.realtime.wire.response_events import error_event
from server.realtime.wire.session_config import SessionConfig
from server.realtime.wire.versions.version import ProtocolVersion
from step_audio.core.cancellation import asked_to_stop
from step_audio.core.errors import PartFailed
from step_audio.dialog.assistant import Assistant

_LOG = logging.getLogger(__name__)

GONE: Final = (WebSocketDisconnect, OSError)
GOING: Final = 1012
POLICY: Final = 1008
TRY_LATER: Final = 1013


class SessionHost:
    """One session. `run` keeps it alive, `serve` speaks it over one socket at a time.

    Attributes:
        held_s: for how long in all events waited for a slow client, or for one that was gone.
    """

    def __init__(
        self,
        assistant: Assistant,
        settings: ServerSettings,
        watch: Watch,
        place: Place,
        *,
        version: ProtocolVersion | None = None,
        resumable: bool = False,
        purpose: Purpose = "realtime",
        config: SessionConfig | None = None,
    ) -> None:
        """Prepare a session.

        Args:
            place: held while a socket is there; the caller took it for the first one.
            purpose: "transcription" for a session that is never answered.
            config: settings to begin with, those of a client secret.
        """
        self._purpose, self._config = purpose, config
        self.finished = asyncio.Event()
        self.place = place
        self.token = secrets.token_urlsafe(32) if resumable else None
        self._assistant, self._settings, self._version = assistant, settings, version
        self._watch, self._observe = watch, assistant.services.recorder.observe
        self._limits = ExpiryLimits(
            settings.idle_timeout_s,
            settings.session_timeout_s,
            settings.warning_s,
            grace_s=settings.drain_s,
        )
        self._lifetime = Expiry(self._limits, time.monotonic())
        self._send_queue = SendQueue()
        self._pace = Pace(settings.pace)
        self._session: RealtimeSession | None = None
        self._open = asyncio.Event()
        self._over = asyncio.Event()
        self._inbox = Inbox(settings.max_message_bytes)
        self._received = 0
        self._sent = ReplayBuffer()
        self._unsent: deque[str] = deque()
        self._attached: tuple[asyncio.Event, asyncio.Event] | None = None
        """Of the socket in use: told to leave, has left."""
        self._broken = False
        self._expired = False
        self._commands = 0
        self._left_s: float | None = None
        self.held_s = 0.0

    @property
    def busy(self) -> bool:
        """Whether an answer is under way, or on its way to a client that is there."""
        waiting = len(self._send_queue) + len(self._unsent) if self._attached is not None else 0
        return waiting > 0 or (self._session is not None and self._session.turns.busy)

    @property
    def absent_s(self) -> float | None:
        """For how long no socket has been there; None: one is, or the first is on its way."""
        if self._attached is not None or self._left_s is None:
            return None
        return time.monotonic() - self._left_s

    async def run(self) -> None:
        """Keep the session until it is over, whatever ends it."""
        begun_s = time.monotonic()
        try:
            self._broken = True
            async with asyncio.TaskGroup() as tasks:
                self._session = session = RealtimeSession(
                    self._assistant,
                    self._send_queue,
                    tasks,
                    self._version,
                    expires_at=int(time.time() + self._limits.session_s),
                    voice_names=self._settings.voice_names,
                    purpose=self._purpose,
                    config=self._config,
                )
                bind_contextvars(session=session.session_state.config.session_id)
                _LOG.info("session began", extra={"resumable": self.token is not None})
                if self.token is not None:
                    window_s = self._settings.resume_window_s
                    facts = {"token": self.token, "window_s": window_s}
                    self._send_queue.send({"type": "session.resumable", **facts})
                handling = tasks.create_task(self._handle(session), name="session.events")
                self._open.set()
                try:
                    await self._until_over()
                    self._broken = False
                finally:
                    self._over.set()
                    # First, so that no event makes a task for a session that has ended.
                    handling.cancel()
                    await asyncio.wait([handling])
                    await session.close()
        finally:
            self._over.set()
            self._open.set()
            self.place.free()
            self._watch.ended(time.monotonic())
            _LOG.info("session ended", extra={"s": round(time.monotonic() - begun_s, 1)})
            self.finished.set()

    async def _handle(self, session: RealtimeSession) -> None:
        """Carry out one event after the other, however many sockets they come over."""
        while True:
            text = await self._inbox.take()
            await self._send_queue.room()
            if text is None:
                refused = RequestError("send text messages, sound as base64", code="invalid_json")
                self._send_queue.send(error_event(refused, event_id=None))
                continue
            try:
                await session.handle(text)
            except asyncio.CancelledError as stray:
                if asked_to_stop():
                    raise
                raise PartFailed("session") from stray  # else nobody would handle what follows

    def end(self) -> None:
        """Let the session be over."""
        self._over.set()

    async def serve(self, socket: WebSocket, last: str | None = None) -> int | None:
        """Speak over an accepted socket; return the code to close it with, None when it is gone.

        Args:
            last: id of the last event that the client has, on a resumption.

        The session's place is free when this returns.

        Raises:
            RequestError: what follows `last` is no longer known. Flooded. Overloaded: the place was
                lost while the socket was being accepted, and none is free.
        """
        leave, left = asyncio.Event(), asyncio.Event()
        old, self._attached = self._attached, (leave, left)
        try:
            if old is not None:  # the old socket has not noticed yet that it is dead
                old[0].set()
                await old[1].wait()
            await self._open.wait()
            self.place.take()
            again = [] if last is None else self._after(last)
            if self._left_s is not None:
                self.held_s += time.monotonic() - self._left_s
                self._left_s = None
            return await self._speak(socket, again, leave)
        finally:
            left.set()
            if self._attached == (leave, left):
                self._attached, self._left_s = None, time.monotonic()
                self.leave_place()
                if self.token is None:
                    self.end()

    def leave_place(self) -> None:
        """Give the place to whoever asks next, unless a socket is there."""
        if self._attached is None:
            self.place.free()

    async def _speak(self, socket: WebSocket, again: list[str], leave: asyncio.Event) -> int | None:
        reader = asyncio.create_task(self._read(socket), name="socket.read")
        writer = asyncio.create_task(self._write(socket, again), name="socket.write")
        over = asyncio.create_task(self._over.wait(), name="session.over")
        replaced = asyncio.create_task(leave.wait(), name="socket.replaced")
        tasks: tuple[asyncio.Task[Any], ...] = (reader, writer, over, replaced)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            # Not gather: frameworks around us know their own cancellation by its message.
            await asyncio.wait(tasks)
        return None if leave.is_set() else self._code(reader, writer)

    def _code(self, reader: asyncio.Task[int], writer: asyncio.Task[None]) -> int | None:
        """Return the close code that the ends of reader and writer mean."""
        for task in (reader, writer):
            how = None if task.cancelled() else task.exception()
            if isinstance(how, Flooded):
                self.end()
                raise how
            if isinstance(how, TimeoutError):
                return TRY_LATER  # it does not read what it is sent
            if isinstance(how, GONE):
                return None
            if isinstance(how, Exception):
                _LOG.error("realtime session failed", exc_info=how)
                self.end()
                return 1011
        if self._expired and not writer.cancelled():
            self.end()
            return POLICY
        if not reader.cancelled():
            self.end()  # closed on purpose
            return reader.result()
        return 1011 if self._broken else GOING

    async def _read(self, socket: WebSocket) -> int:
        """Take messages until the client leaves; return the close code. Raises Flooded."""
        settings = self._settings
        while True:
            await self._inbox.room()
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                if message.get("code") in (1000, 1001):
                    self.end()
                raise WebSocketDisconnect(message.get("code", 1006))
            text = message.get("text")
            size = len(text or message.get("bytes") or b"")
            if size > settings.max_message_bytes or TOO_LONG in message:
                return 1009
            if wait_s := self._pace.hold(size, time.monotonic()):
                await asyncio.sleep(wait_s)
            self._received += 1
            if text is not None:
                self._watch.received(text, time.monotonic())
            # The session carries it out, whatever becomes of the socket.
            self._inbox.put(text, size)

    async def _write(self, socket: WebSocket, again: list[str]) -> None:
        for text in again:
            await self._send(socket, text)
        while not self._expired:
            while self._unsent:
                await self._send(socket, self._unsent[0])
                self._unsent.popleft()
            self._observe("queue_depth.outlet", len(self._send_queue))
            event = await self._send_queue.take()
            self._watch.sent(event, time.monotonic())
            # ASCII, since what clients had echoed may hold half a surrogate pair.
            text = json.dumps(event)
            if self.token is not None:
                self._sent.add(event["event_id"], text)
            self._unsent.append(text)
            self._expired = event["type"] == "error" and event["error"]["code"] == EXPIRED
        await self._send(socket, self._unsent.pop())

    async def _send(self, socket: WebSocket, text: str) -> None:
        began_s = time.monotonic()
        async with asyncio.timeout(self._settings.send_timeout_s):
            await socket.send_text(text)
        self.held_s += time.monotonic() - began_s

    def _after(self, last: str) -> list[str]:
        """Return what was sent after an event. Raises RequestError: it is not known."""
        missed = self._sent.after(last)
        self._unsent.clear()  # they are among them
        facts = {"type": "session.resumed", "received": self._received}
        resumed = json.dumps({"event_id": f"event_{secrets.token_hex(16)}", **facts})
        return [resumed, *missed]

    async def _until_over(self) -> None:
        """Wait for the end: of the client, of a socket that does not come back, of the time."""
        window_s = self._settings.resume_window_s
        look_s = self._lifetime.look_again_s()
        if self.token is not None:
            look_s = min(look_s, max(0.02, window_s / 4))
        while not self._over.is_set():
            try:
                async with asyncio.timeout(look_s):
                    await self._over.wait()
            except TimeoutError:
                now_s = time.monotonic()
                gone = self._attached is None and self._left_s is not None
                if gone and now_s - (self._left_s or 0.0) > window_s:
                    return
                if self._times_out(now_s):
                    await self._last_words()
                    return

    def _times_out(self, now_s: float) -> bool:
        """Warn of the end of the time, or say that it is over."""
        session = self._session
        assert session is not None
        if session.active or session.commands != self._commands:
            self._commands = session.commands
            self._lifetime.touch(now_s)
        due = self._lifetime.look(now_s, response_task=session.turns.busy)
        if due is None:
            return False
        what, reason, left_s = due
        if what is Due.END:
            self._observe(f"guard_stops.{reason}", 1)
            self._send_queue.send(expired_event(reason, self._limits))
            return True
        if self.token is not None or WARNING in session.session_state.config.include:
            self._send_queue.send(warning_event(reason, left_s))
        return False

    async def _last_words(self) -> None:
        """Wait until a socket in use has taken what is left."""
        if self._attached is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.send_timeout_s):
                await self._over.wait()
