"""One realtime session: client events in, server events out through the outlet."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final

from server.errors import RequestError
from server.realtime import events as wire
from server.realtime.config import RATE_HZ, SessionConfig, merged
from server.realtime.items import domain_item, item_events, shown_before, wire_item
from server.realtime.outlet import Outlet
from server.realtime.translate import ResponseTranslator, error_event
from step_audio.core.audio import pcm16_to_float
from step_audio.core.errors import (
    DuplicateItem,
    ItemNotFound,
    StepAudioError,
    TurnError,
)
from step_audio.core.types import Pcm
from step_audio.dialog.conversation import Conversation, UserAudio
from step_audio.dialog.question import Question
from step_audio.dialog.session import Assistant, AudioChunk, new_id
from step_audio.dialog.turn import E, S, State, step

_LOG = logging.getLogger(__name__)

MIN_QUESTION_MS: Final = 100


@dataclass(frozen=True, slots=True)
class _Running:
    """The response under way."""

    translator: ResponseTranslator
    task: asyncio.Task[None]


class RealtimeSession:
    """State of one socket. `handle` is called with one message after the other."""

    def __init__(self, assistant: Assistant, outlet: Outlet, tasks: asyncio.TaskGroup) -> None:
        services = assistant.services
        self._assistant = assistant
        self._outlet = outlet
        self._tasks = tasks
        self._config = SessionConfig(
            f"sess_{new_id()}", services.model_name, services.default_voice
        )
        self._ahead = assistant.read_ahead(self._config.session_id)
        self._conversation = Conversation()
        self._conversation_id = f"conv_{new_id()}"
        self._question: Question | None = None
        self._state: State = S.LISTENING
        self._running: _Running | None = None
        self._spoken_s: dict[str, float] = {}  # item id of a spoken question -> its length
        self._handlers: dict[type[wire.Wire], Callable[[Any], Awaitable[None]]] = {
            wire.SessionUpdate: self._session_update,
            wire.BufferAppend: self._append,
            wire.BufferCommit: self._commit,
            wire.BufferClear: self._clear,
            wire.ItemCreate: self._item_create,
            wire.ItemRetrieve: self._item_retrieve,
            wire.ItemTruncate: self._item_truncate,
            wire.ItemDelete: self._item_delete,
            wire.ResponseCreate: self._response_create,
            wire.ResponseCancel: self._response_cancel,
        }
        outlet.send({"type": "session.created", "session": self._config.wire()})

    async def handle(self, text: str) -> None:
        """Carry out one client event; what is wrong with it becomes an error event."""
        event_id: str | None = None
        try:
            raw = wire.decode(text)
            given = raw.get("event_id")
            event_id = given if isinstance(given, str) else None
            event = wire.parse(raw)
            await self._handlers[type(event)](event)
        except StepAudioError as error:
            self._outlet.send(error_event(error, event_id=event_id))

    async def close(self) -> None:
        """Stop the response under way, if any."""
        await self._ahead.close()
        if self._running is not None:
            self._running.task.cancel()
            await asyncio.wait([self._running.task])

    async def _session_update(self, event: wire.SessionUpdate) -> None:
        voices = self._assistant.services.voices.names()
        self._config = merged(self._config, event.session, voices)
        self._outlet.send({"type": "session.updated", "session": self._config.wire()})

    async def _append(self, event: wire.BufferAppend) -> None:
        pcm = _decoded(event.audio, "audio")
        self._question = self._question or self._assistant.question(RATE_HZ)
        await self._assistant.listen(self._question, pcm)
        system = self._assistant.system_text(self._config.instructions)
        self._ahead.follow(self._conversation, self._question, system)

    async def _commit(self, _: wire.BufferCommit) -> None:
        question = self._question
        if question is None or question.duration_ms < MIN_QUESTION_MS:
            length_ms = question.duration_ms if question else 0
            raise RequestError(
                f"the buffer holds {length_ms} ms; append at least {MIN_QUESTION_MS} ms",
                code="input_audio_buffer_commit_empty",
            )
        self._question = None
        groups = await self._assistant.finish(question)
        item = UserAudio(f"item_{new_id()}", groups)
        self._conversation.add(item)
        self._spoken_s[item.item_id] = question.duration_ms / 1000
        previous = shown_before(self._conversation, item.item_id)
        facts = {"item_id": item.item_id, "previous_item_id": previous}
        self._outlet.send({"type": "input_audio_buffer.committed", **facts})
        for out in item_events(self._conversation, item):
            self._outlet.send(out)

    async def _clear(self, _: wire.BufferClear) -> None:
        self._question = None
        self._outlet.send({"type": "input_audio_buffer.cleared"})

    async def _item_create(self, event: wire.ItemCreate) -> None:
        item_id = event.item.id or f"item_{new_id()}"
        sound = _sound(event.item)
        if sound is None:
            item = domain_item(event.item, item_id, self._conversation)
        else:
            question = self._assistant.question(RATE_HZ)
            await self._assistant.listen(question, _decoded(sound, "item.content"))
            self._spoken_s[item_id] = question.duration_ms / 1000
            item = UserAudio(item_id, await self._assistant.finish(question))
        try:
            self._conversation.add(item, after=event.previous_item_id)
        except DuplicateItem as error:
            raise RequestError(
                str(error), code="item_create_duplicate_item_id", param="item.id"
            ) from error
        for out in item_events(self._conversation, item):
            self._outlet.send(out)

    async def _item_retrieve(self, event: wire.ItemRetrieve) -> None:
        try:
            item = self._conversation.get(event.item_id)
        except ItemNotFound as error:
            raise RequestError(
                str(error), code="item_retrieve_invalid_item_id", param="item_id"
            ) from error
        self._outlet.send({"type": "conversation.item.retrieved", "item": wire_item(item)})

    async def _item_truncate(self, event: wire.ItemTruncate) -> None:
        self._conversation.truncate(event.item_id, event.audio_end_ms)
        facts = {"content_index": event.content_index, "audio_end_ms": event.audio_end_ms}
        self._outlet.send(
            {"type": "conversation.item.truncated", "item_id": event.item_id, **facts}
        )

    async def _item_delete(self, event: wire.ItemDelete) -> None:
        self._conversation.delete(event.item_id)
        self._outlet.send({"type": "conversation.item.deleted", "item_id": event.item_id})

    async def _response_create(self, event: wire.ResponseCreate) -> None:
        params = event.response or wire.ResponseParams()
        if params.conversation == "none" or params.input is not None:
            raise RequestError(
                "responses outside the conversation are not supported; create items instead",
                code="unsupported_value",
                param="response.conversation",
            )
        config = merged(self._config, params, self._assistant.services.voices.names())
        try:
            self._state, _ = step(self._state, E.COMMITTED)
        except TurnError:
            raise RequestError(
                "a response is already in progress; cancel it or wait for response.done",
                code="conversation_already_has_active_response",
            ) from None
        question = self._conversation.last_question()
        spoken = isinstance(question, UserAudio) and config.transcription is not None
        question_id = question.item_id if question is not None and spoken else None
        translator = ResponseTranslator(
            response_id=f"resp_{new_id()}",
            answer_id=f"item_{new_id()}",
            conversation_id=self._conversation_id,
            config=config,
            before=lambda item_id: shown_before(self._conversation, item_id),
            metadata=params.metadata,
            question=question_id,
            question_s=self._spoken_s.get(question_id or "", 0.0),
        )
        self._emit(translator.created())
        responding = self._respond(translator, self._conversation.last_id)
        task = self._tasks.create_task(responding, name="response")
        self._running = _Running(translator, task)

    async def _response_cancel(self, event: wire.ResponseCancel) -> None:
        running = self._running
        other = running and event.response_id not in (None, running.translator.response_id)
        try:
            state, _ = step(self._state, E.CLIENT_CANCEL)
        except TurnError:
            running = None
        if running is None or other:
            raise RequestError(
                "Cancellation failed: no active response found", code="response_cancel_not_active"
            )
        running.task.cancel()
        await asyncio.wait([running.task])
        self._outlet.silence(running.translator.response_id)
        self._emit(running.translator.finish("cancelled", reason="client_cancelled"))
        self._state, self._running = state, None

    async def _respond(self, translator: ResponseTranslator, until: str | None) -> None:
        """Run one response to its end. When cancelled, whoever cancels sends the end."""
        config = translator.config
        sampling = self._assistant.settings.sampling
        if config.max_output_tokens is not None:
            limit = min(sampling.max_tokens, config.max_output_tokens)
            sampling = replace(sampling, max_tokens=limit)
        answer = self._assistant.answer(
            self._conversation,
            until=until,
            answer_id=translator.answer_id,
            voice=config.voice,
            instructions=config.instructions,
            sampling=sampling,
            client_tools=config.client_tools,
            aloud=config.modality == "audio",
            session=self._config.session_id,
        )
        try:
            async with aclosing(answer) as answered:
                async for event in answered:
                    await self._outlet.room()
                    if isinstance(event, AudioChunk) and self._state is S.THINKING:
                        self._state, _ = step(self._state, E.FIRST_AUDIO)
                    self._emit(translator.on(event))
            end, failure = E.RESPONSE_DONE, None
        except StepAudioError as error:
            end, failure = E.FAILED, error
        except Exception:
            _LOG.exception("response failed")
            end, failure = E.FAILED, StepAudioError("internal error; see the server's log")
        self._state, _ = step(self._state, end)
        self._running = None
        self._emit(translator.finish("failed" if failure else "completed", error=failure))

    def _emit(self, out: list[dict[str, Any]]) -> None:
        for event in out:
            self._outlet.send(event)


def _sound(item: wire.ClientItem) -> str | None:
    """Return the base64 sound of a user message, None when it has none."""
    if not isinstance(item, wire.MessageItem) or item.role != "user":
        return None
    return next((part.audio for part in item.content if part.audio), None)


def _decoded(sound: str, param: str) -> Pcm:
    try:
        data = base64.b64decode(sound, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError("not base64", code="invalid_audio", param=param) from None
    return pcm16_to_float(data)
