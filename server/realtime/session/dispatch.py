"""One realtime session: client events in, server events out through the outlet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from server.http.errors import RequestError
from server.realtime.session.client_history import ClientHistory
from server.realtime.session.input_audio import InputAudio
from server.realtime.session.item_handlers import ItemHandlers
from server.realtime.session.send_queue import SendQueue
from server.realtime.session.state import SessionState
from server.realtime.session.turn_controller import TurnController
from server.realtime.wire import client_events as wire
from server.realtime.wire.response_events import BUILTIN_CALLS, error_event
from server.realtime.wire.session_config import SessionConfig, first_config, merged
from server.realtime.wire.versions.stepfun import Stepfun
from server.realtime.wire.versions.version import Ga, ProtocolVersion, looks_flat
from server.voice_names import VoiceNames
from step_audio.core.errors import StepAudioError
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.turns.table import S


class RealtimeSession:
    """State of one client. `handle` is called with one message after the other.

    Attributes:
        floor: who speaks; what the server wants to say of its own accord goes there.
        talk: settings, conversation, and what else the parts share.
        commands: events that were carried out; sound is left out where the server finds the turns,
            since it streams in whether somebody speaks or not.
    """

    def __init__(
        self,
        assistant: Assistant,
        outlet: SendQueue,
        tasks: asyncio.TaskGroup,
        shape: ProtocolVersion | None = None,
        *,
        expires_at: int | None = None,
        voice_names: Mapping[str, str] | None = None,
    ) -> None:
        """Greet the client; `shape` None: GA, unless its first update is of another.

        Args:
            expires_at: when the session ends at the latest, in seconds of Unix time.
            voice_names: the operator's voices for names that clients send.
        """
        errands = assistant.errands(wake=self._news)
        config = first_config(assistant, expires_at)
        if shape is not None and shape.stateless:
            config = replace(config, turn_detection=None, include=(BUILTIN_CALLS,))
        voices = VoiceNames(assistant.services, voice_names or {})
        self.talk = SessionState(assistant, outlet, tasks, config, errands, voices)
        self.floor = TurnController(self.talk)
        self._outlet = outlet
        self.commands = 0
        self._undecided = shape is None
        outlet.shape = shape or Ga()
        self._hearing = InputAudio(self.talk, self.floor)
        self._history = history = ItemHandlers(self.talk, self.floor)
        self._recital = ClientHistory(self.talk, self.floor, self._hearing, history)
        self._handlers: dict[type[wire.Wire], Callable[[Any], Awaitable[None]]] = {
            wire.SessionUpdate: self._session_update,
            wire.SessionRestore: self._session_restore,
            wire.BufferAppend: self._hearing.append,
            wire.BufferCommit: self._hearing.commit,
            wire.BufferClear: self._hearing.clear,
            wire.ItemCreate: history.create,
            wire.ItemRetrieve: history.retrieve,
            wire.ItemTruncate: history.truncate,
            wire.ItemDelete: history.delete,
            wire.ResponseCreate: self._response_create,
            wire.ResponseCancel: self._response_cancel,
        }
        outlet.send({"type": "session.created", "session": self.talk.config.wire()})

    async def handle(self, text: str) -> None:
        """Carry out one client event; what is wrong with it becomes an error event."""
        event_id: str | None = None
        try:
            raw = wire.decode(text)
            given = raw.get("event_id")
            event_id = given if isinstance(given, str) else None
            event = wire.parse(self._shaped(raw))
            streams = self.talk.config.turn_detection is not None
            self.commands += not (streams and isinstance(event, wire.BufferAppend))
            await self._handlers[type(event)](event)
        except StepAudioError as error:
            self._outlet.send(error_event(error, event_id=event_id))

    def _shaped(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return a client's event as GA; the first update tells the dialect of the unmarked."""
        if self._undecided and raw.get("type") == "session.update":
            self._undecided = False
            if looks_flat(raw):
                self._outlet.shape = Stepfun()
        return self._outlet.shape.inward(raw)

    def _news(self) -> None:
        self.floor.poke()

    @property
    def active(self) -> bool:
        """Whether somebody speaks, or a tool is at work."""
        at_work = self.talk.errands.open > 0
        return at_work or self.floor.state is not S.LISTENING or self._hearing.open

    async def close(self) -> None:
        """Stop what runs."""
        await self.talk.errands.close()
        await self._hearing.close()
        await self.floor.close()

    async def _session_update(self, event: wire.SessionUpdate) -> None:
        self.talk.config = self._merged(event.session)
        self.floor.touch()
        self._hearing.reconfigure()
        self._outlet.send({"type": "session.updated", "session": self.talk.config.wire()})

    async def _session_restore(self, _: wire.SessionRestore) -> None:
        if not self._outlet.shape.stateless:
            said = "session.restore is an event of /v1/realtime/stateless"
            raise RequestError(said, code="unknown_event", param="type")
        self._recital.restore()

    async def _response_create(self, event: wire.ResponseCreate) -> None:
        params = event.response or wire.ResponseParams()
        config = self._merged(params)
        self._check_choice(config)
        if self._outlet.shape.stateless:
            await self._recited(config, params)
            return
        context = await self._history.context(params)
        if params.conversation == "none" and context is not None:
            self.floor.asides.ask(config, params.metadata, context)
        else:
            self.floor.ask(config, params.metadata, context)

    async def _recited(self, config: SessionConfig, params: wire.ResponseParams) -> None:
        """Answer what a client recites; with nothing to answer, an interruption only stops."""
        context = await self._recital.context(params.history or [])
        if params.interrupt_current_response:
            if self.floor.busy:
                self.floor.cancel(None)
            if not len(context):
                return
        self.floor.ask(config, params.metadata, context)
        self._recital.answered()

    def _merged(self, patch: wire.SessionPatch | wire.ResponseParams) -> SessionConfig:
        return merged(self.talk.config, patch, self.talk.assistant, self.talk.voices)

    def _check_choice(self, config: SessionConfig) -> None:
        """Refuse to require a call that nobody could make. Raises RequestError."""
        choice = config.choice
        known = {tool.name for tool in config.tool_specs}
        missing = [name for name in choice.names if name not in known]
        if missing:
            said = f"no function {missing[0]!r} among the session's tools"
        elif choice.requires and not known and not self.talk.assistant.services.tools.specs():
            said = "there is no tool to call; send tools, or another tool_choice"
        else:
            return
        raise RequestError(said, code="invalid_tool_choice", param="response.tool_choice")

    async def _response_cancel(self, event: wire.ResponseCancel) -> None:
        self.floor.cancel(event.response_id)
