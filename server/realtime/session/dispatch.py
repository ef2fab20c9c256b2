"""One realtime session: client events in, server events out through the send queue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from server.http.errors import RequestError
from server.realtime.session.client_history import ClientHistory
from server.realtime.session.input_audio import InputAudio
from server.realtime.session.item_handlers import ItemHandlers
from server.realtime.session.responses import ResponseRequest
from server.realtime.session.send_queue import SendQueue
from server.realtime.session.state import SessionState
from server.realtime.session.turn_controller import TurnController
from server.realtime.wire import client_events as wire
from server.realtime.wire.client_events import Purpose
from server.realtime.wire.response_events import BUILTIN_CALLS, error_event
from server.realtime.wire.session_config import SessionConfig, first_config, transcribing
from server.realtime.wire.session_update import Patch, merged, warnings
from server.realtime.wire.versions.beta import TRANSCRIPTION, Beta
from server.realtime.wire.versions.settings_keys import own_place
from server.realtime.wire.versions.version import Ga, ProtocolVersion, looks_flat
from server.voice_names import VoiceNames
from step_audio.core.errors import StepAudioError
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.conversation import is_unbegun


class RealtimeSession:
    """State of one client. `handle` is called with one message after the other.

    Attributes:
        turns: who speaks; what the server wants to say of its own accord goes there.
        session_state: settings, conversation, and what else the parts share.
        commands: events that were carried out; sound is left out where the server finds the turns,
            since it streams in whether somebody speaks or not.
    """

    def __init__(
        self,
        assistant: Assistant,
        send_queue: SendQueue,
        tasks: asyncio.TaskGroup,
        version: ProtocolVersion | None = None,
        *,
        expires_at: int | None = None,
        voice_names: Mapping[str, str] | None = None,
        purpose: Purpose = "realtime",
        config: SessionConfig | None = None,
    ) -> None:
        """Greet the client; `version` None: GA, unless its first update is of another.

        Args:
            expires_at: when the session ends at the latest, in seconds of Unix time.
            voice_names: the operator's voices for names that clients send.
            purpose: "transcription" for a session that is never answered.
            config: settings to begin with instead of the first ones.
        """
        background_calls = assistant.background_calls(wake=self._news)
        first = first_config(assistant, expires_at)
        config = first if config is None else replace(config, expires_at=expires_at)
        if version is not None and version.stateless:
            config = replace(config, turn_detection=None, include=(BUILTIN_CALLS,))
        if purpose == "transcription":
            config = transcribing(config)
        voices = VoiceNames(assistant, voice_names or {})
        self.session_state = SessionState(
            assistant, send_queue, tasks, config, background_calls, voices
        )
        self.turns = TurnController(self.session_state)
        self._send_queue = send_queue
        self.commands = 0
        self._undecided = version is None
        self._raw: dict[str, Any] = {}  # the event that is being carried out
        send_queue.version = version or Ga()
        self._hearing = InputAudio(self.session_state, self.turns)
        self._history = history = ItemHandlers(self.session_state, self.turns, self._hearing.note)
        self._client_history = ClientHistory(self.session_state, self.turns, self._hearing, history)
        self._handlers: dict[type[wire.Wire], Callable[[Any], Awaitable[None]]] = {
            wire.SessionUpdate: self._session_update,
            wire.SessionRestore: self._session_restore,
            wire.BufferCommit: self._hearing.commit,
            wire.BufferClear: self._hearing.clear,
            wire.ItemCreate: history.create,
            wire.ItemRetrieve: history.retrieve,
            wire.ItemTruncate: history.truncate,
            wire.ItemDelete: history.delete,
            wire.ResponseCreate: self._response_create,
            wire.ResponseCancel: self._response_cancel,
        }
        send_queue.send({"type": "session.created", "session": self.session_state.config.wire()})

    async def handle(self, text: str) -> None:
        """Carry out one client event; what is wrong with it becomes an error event."""
        event_id: str | None = None
        raw: dict[str, Any] = {}
        try:
            raw = wire.decode(text)
            given = raw.get("event_id")
            event_id = given if isinstance(given, str) else None
            event = wire.parse(self._shaped(raw))
            streams = self.session_state.config.turn_detection is not None
            self.commands += not (streams and isinstance(event, wire.BufferAppend))
            if isinstance(event, wire.BufferAppend):
                await self._hearing.append(event, event_id)
                return
            if not isinstance(event, wire.ResponseCancel):
                await self._hearing.heard_all()
            self._raw = raw
            await self._handlers[type(event)](event)
        except StepAudioError as error:
            out = error_event(error, event_id=event_id)
            out["error"]["param"] = own_place(raw, out["error"]["param"])
            self._send_queue.send(out)

    def _shaped(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return a client's event as GA; the first update tells the dialect of the unmarked."""
        if self._undecided and raw.get("type") == f"{TRANSCRIPTION}.update":
            self._undecided = False
            self._send_queue.version = Beta()
        if self._undecided and raw.get("type") == "session.update":
            self._undecided = False
            if looks_flat(raw):
                self._send_queue.version = Beta()
        return self._send_queue.version.inward(raw)

    def _news(self) -> None:
        self.turns.poke()

    @property
    def active(self) -> bool:
        """Whether somebody speaks, or a tool is at work."""
        at_work = self.session_state.background_calls.open > 0
        return at_work or not self.turns.idle or self._hearing.open

    async def close(self) -> None:
        """Stop what runs."""
        await self._hearing.close()
        await self.turns.close()
        # Last: a response that still waits for its call would take the end of it for a fault.
        await self.session_state.background_calls.close()

    async def _session_update(self, event: wire.SessionUpdate) -> None:
        patch = event.session or wire.SessionPatch()
        self.session_state.config = await self._merged(patch)
        self.turns.touch()
        self._hearing.reconfigure()
        told = self._warnings(patch)
        updated = {"type": "session.updated", "session": self.session_state.config.wire()}
        self._send_queue.send({**updated, "warnings": told} if told else updated)

    async def _session_restore(self, _: wire.SessionRestore) -> None:
        if not self._send_queue.version.stateless:
            said = "session.restore is an event of /v1/realtime/stateless"
            raise RequestError(said, code="unknown_event", param="type")
        self._client_history.restore()

    async def _response_create(self, event: wire.ResponseCreate) -> None:
        if self.session_state.config.purpose == "transcription":
            said = "a transcription session gives no answers; open a realtime session for those"
            raise RequestError(said, code="invalid_session_type", param="type")
        params = event.response or wire.ResponseParams()
        config = await self._merged(params)
        self._check_choice(config)
        wanted = ResponseRequest(config, params.metadata, warnings=tuple(self._warnings(params)))
        if self._send_queue.version.stateless:
            await self._recited(wanted, params)
            return
        if params.history is not None:
            said = "this session keeps the conversation itself; send response.input"
            raise RequestError(said, code="unsupported_value", param="response.history")
        wanted = replace(wanted, conversation=await self._history.context(params))
        if params.conversation == "none":
            self.turns.out_of_band.ask(replace(wanted, out_of_band=True))
            return
        if params.interrupt_current_response and self.turns.busy:
            self.turns.cancel(None)
        self.turns.ask(replace(wanted, text=self._opening(wanted, params)))

    def _opening(self, wanted: ResponseRequest, params: wire.ResponseParams) -> str | None:
        """Return what a role says first, where a client lets it begin an empty conversation."""
        state = self.session_state
        role = wanted.config.style.role
        begun = wanted.conversation is not None or not is_unbegun(state.conversation)
        asked = params.instructions is not None or wanted.config.choice.requires
        return (role.opening or None) if role and not (begun or asked) else None

    async def _recited(self, wanted: ResponseRequest, params: wire.ResponseParams) -> None:
        """Answer what a client recites; with nothing to answer, an interruption only stops."""
        context = await self._client_history.context(params.history or [])
        if params.interrupt_current_response:
            if self.turns.busy:
                self.turns.cancel(None)
            if not len(context):
                return
        self.turns.ask(replace(wanted, conversation=context))
        self._client_history.answered()

    async def _merged(self, patch: Patch) -> SessionConfig:
        state = self.session_state
        return await state.assistant.with_voices(
            lambda: merged(state.config, patch, state.assistant, state.voices)
        )

    def _warnings(self, patch: Patch) -> list[dict[str, Any]]:
        """Return what of a client's event is not served, in the client's own keys."""
        found = warnings(patch, self.session_state.assistant)
        return [{**one, "param": own_place(self._raw, one["param"])} for one in found]

    def _check_choice(self, config: SessionConfig) -> None:
        """Refuse to require a call that nobody could make. Raises RequestError."""
        choice = config.choice
        known = {tool.name for tool in config.tool_specs}
        missing = [name for name in choice.names if name not in known]
        if missing:
            said = f"no function {missing[0]!r} among the session's tools"
        elif (
            choice.requires
            and not known
            and not self.session_state.assistant.services.tools.specs()
        ):
            said = "there is no tool to call; send tools, or another tool_choice"
        else:
            return
        raise RequestError(said, code="invalid_tool_choice", param="response.tool_choice")

    async def _response_cancel(self, event: wire.ResponseCancel) -> None:
        if self._hearing.behind:
            # It must not wait for a long append before it; what that begins, it may also mean.
            try:
                self.turns.cancel(event.response_id)
            except RequestError:
                await self._hearing.heard_all()
            else:
                return
        self.turns.cancel(event.response_id)
