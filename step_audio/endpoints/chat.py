"""A chat model behind `/v1/chat/completions`: implements `core.chat.ChatModel` over HTTP.

Servers differ in what they stream and in what they refuse; docs/chat-servers.md lists how, and
tests/endpoints holds a recorded stream of each. Until the first word a request that fails is sent
again; afterwards a failure ends it with an error, because a second answer could not continue the
first.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from step_audio.core.audio import wav_bytes
from step_audio.core.chat import (
    CHAT_AUDIO_HZ,
    ChatEvent,
    ChatMessage,
    ChatModelRequest,
    ChatUsage,
)
from step_audio.core.errors import (
    EngineError,
    EngineGone,
    EngineLost,
    EngineRefused,
    EngineUnavailable,
    ProfileError,
)
from step_audio.core.types import Reasoning, TextDelta
from step_audio.dialog.ids import new_id
from step_audio.endpoints.connection import Endpoint, EndpointBusy, content, events
from step_audio.endpoints.streamed_calls import StreamedCalls
from step_audio.endpoints.thinking import ThinkingFilter

_LOG = logging.getLogger(__name__)

_AGAIN_S: Final = 0.25
"""Before a second attempt; doubled for each further one."""
_MOST_ATTEMPTS: Final = 5
_ABOUT_THE_REQUEST: Final = frozenset({400, 404, 422, 501})
_OPTIONAL: Final = (
    "stream_options",
    "parallel_tool_calls",
    "tool_choice",
    "tools",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "seed",
)
"""Fields that a server may refuse; those without which the answer changes least stand first."""
_REASONING: Final = ("reasoning_content", "reasoning")


@dataclass(slots=True)
class ServerHabits:
    """What a server turned out to refuse, found once and then heeded.

    Attributes:
        refused: fields that are not sent any more.
        names_limit_anew: it wants `max_completion_tokens` in place of `max_tokens`.
    """

    refused: set[str] = field(default_factory=set)
    names_limit_anew: bool = False


class ChatCompletions:
    """A model of an OpenAI-compatible server.

    Args:
        endpoint: the server.
        model: the name it serves it under; "" for the first that it lists.
        first_word_timeout_s: for all attempts together.
        extra_body: fields that are added to every request, such as vLLM's `chat_template_kwargs`.
        begins_thinking: answers begin with thoughts that no tag opens.
        new_call_id: for servers that give calls no id.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        model: str,
        *,
        first_word_timeout_s: float = 20.0,
        extra_body: Mapping[str, Any] | None = None,
        begins_thinking: bool = False,
        new_call_id: Callable[[], str] = lambda: f"call_{new_id()}",
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.habits = ServerHabits()
        self._endpoint, self.model, self._first_s = endpoint, model, first_word_timeout_s
        self._extra, self._begins_thinking = dict(extra_body or {}), begins_thinking
        self._new_call_id, self._now_s = new_call_id, now_s

    @property
    def refused(self) -> frozenset[str]:
        """Names of fields that the server refused."""
        return frozenset(self.habits.refused)

    async def reply(self, request: ChatModelRequest) -> AsyncGenerator[ChatEvent, None]:
        """Yield the answer as it is written; closing the iterator closes the connection.

        Raises:
            EngineUnavailable: no word in time, or the server asks to wait for longer than that.
            EngineRefused: the server refused the request.
            EngineLost: it broke off after the first word.
        """
        start_s, attempt, begun = self._now_s(), 0, False
        while True:
            attempt += 1
            try:
                if not self.model:
                    self.model = _first(await self._endpoint.models())
                async with aclosing(self._attempt(request)) as answer:
                    async for event in answer:
                        begun = True
                        yield event
                return
            except EngineRefused as refused:
                if begun or not self._learn(refused, request):
                    raise
            except EngineLost as lost:
                if begun:
                    raise
                await self._wait(lost, attempt, start_s)

    async def ready(self) -> bool:
        """Return whether the server is there and takes the key."""
        try:
            served = await self._endpoint.models()
        except EngineError as error:
            _LOG.warning("chat server not ready", extra={"error": str(error)})
            return False
        if not self.model and not served:
            return False
        self.model = self.model or _first(served)
        if served and self.model not in served:
            facts = {"model": self.model, "served": ", ".join(served[:8])}
            _LOG.warning("the chat server does not list the model", extra=facts)
        return True

    async def aclose(self) -> None:
        """Close every connection; open requests get an error."""
        await self._endpoint.aclose()

    async def _wait(self, lost: EngineLost, attempt: int, start_s: float) -> None:
        """Wait before the next attempt. Raises EngineUnavailable: there is no time for one."""
        wait_s = _AGAIN_S * 2 ** (attempt - 1)
        if isinstance(lost, EndpointBusy) and lost.retry_after_s is not None:
            wait_s = lost.retry_after_s
        passed_s = self._now_s() - start_s
        _LOG.warning("chat server failed", extra={"why": lost.why, "attempt": attempt})
        if attempt >= _MOST_ATTEMPTS or passed_s + wait_s > self._first_s:
            raise ChatUnavailable(lost, passed_s) from None
        await asyncio.sleep(wait_s)

    def _learn(self, refused: EngineRefused, request: ChatModelRequest) -> bool:
        """Find what of a request was refused; return whether it is worth another attempt."""
        if refused.status not in _ABOUT_THE_REQUEST:
            return False
        sent = self._body(request)
        told = refused.why.lower()
        if "max_completion_tokens" in told and "max_tokens" in sent:
            self.habits.names_limit_anew = True
            return True
        for name in _OPTIONAL:
            if name in sent and _names(told, name):
                if name == "tools" and request.choice == "required":
                    return False
                self.habits.refused.add(name)
                if name == "tools":
                    self.habits.refused.add("tool_choice")
                facts = {"field": name, "why": refused.why}
                _LOG.warning("the chat server refuses a field; it is left out", extra=facts)
                return True
        return False

    def _body(self, request: ChatModelRequest) -> dict[str, Any]:
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [_wire(message) for message in request.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        if sampling.top_k:
            body["top_k"] = sampling.top_k
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if request.tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.description,
                        "parameters": tool.parameters or {"type": "object", "properties": {}},
                    },
                }
                for tool in request.tools
            ]
            if request.name:
                body["tool_choice"] = {"type": "function", "function": {"name": request.name}}
            elif request.choice != "auto":
                body["tool_choice"] = request.choice
        if self.habits.names_limit_anew:
            body["max_completion_tokens"] = body.pop("max_tokens")
        body |= self._extra
        return {name: value for name, value in body.items() if name not in self.habits.refused}

    async def _attempt(self, request: ChatModelRequest) -> AsyncGenerator[ChatEvent, None]:
        reading = _CompletionReader(
            self._new_call_id, self._endpoint, begins_thinking=self._begins_thinking
        )
        async with self._endpoint.post("/chat/completions", body=self._body(request)) as reply:
            if "json" in reply.headers.get("content-type", ""):  # it does not stream
                chunks = _one(await content(reply, self._endpoint.url), self._endpoint.url)
            else:
                chunks = events(reply, self._endpoint.url)
            async with aclosing(chunks):
                async for chunk in chunks:
                    for event in reading.push(chunk):
                        yield event
        for event in reading.flush():
            yield event


def _first(served: Sequence[str]) -> str:
    """Return the first model that can be talked to. Raises ProfileError: there is none."""
    named = [name for name in served if not re.search("embed|rerank|whisper|tts", name, re.I)]
    if not named:
        raise ProfileError("the chat server lists no model: name one (chat.model), or fetch one")
    return named[0]


class ChatUnavailable(EngineUnavailable):
    """No word of a chat server in time, and why."""

    def __init__(self, lost: EngineLost, waited_s: float) -> None:
        super().__init__(lost.where, waited_s)
        what = "is there a server?" if isinstance(lost, EngineGone) else "try again later"
        self.args = (f"the chat server at {lost.where} does not answer ({lost.why}); {what}",)


class _CompletionReader:
    """One answer on its way from chunks to events."""

    def __init__(
        self, new_call_id: Callable[[], str], endpoint: Endpoint, *, begins_thinking: bool
    ) -> None:
        self._endpoint = endpoint
        self._calls = StreamedCalls(new_call_id, endpoint.url)
        self._thinking = ThinkingFilter(begins_inside=begins_thinking)
        self._usage: ChatUsage | None = None
        self._why: str | None = None

    def push(self, chunk: object) -> list[ChatEvent]:
        """Take one chunk, None for the end of the stream. Raises EngineLost: it is an error."""
        if chunk is None:
            self._why = self._why or "stop"
            return []
        if not isinstance(chunk, dict):
            raise self._endpoint.lost("an event that is no completion")
        if error := chunk.get("error"):
            raise self._endpoint.lost(error)
        self._count(chunk.get("usage"))
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return []
        reason = choice.get("finish_reason")
        self._why = reason if isinstance(reason, str) else self._why
        delta = choice.get("delta") or choice.get("message")
        return self._delta(delta) if isinstance(delta, dict) else []

    def flush(self) -> list[ChatEvent]:
        """Return the end of the answer. Raises EngineLost: it was cut off."""
        if self._why is None:
            raise self._endpoint.lost("it stopped without saying why")
        if self._why == "error":
            raise self._endpoint.lost("it ended the answer with an error")
        out: list[ChatEvent] = [*self._thinking.flush(), *self._calls.flush()]
        if self._usage is not None or self._why == "length":
            usage = self._usage or ChatUsage()
            out.append(ChatUsage(usage.read, usage.written, cut_off=self._why == "length"))
        return out

    def _delta(self, delta: dict[str, Any]) -> list[ChatEvent]:
        out: list[ChatEvent] = []
        thought = next((delta[key] for key in _REASONING if isinstance(delta.get(key), str)), "")
        if thought:
            out.append(Reasoning(thought))
        for kind, text in _texts(delta.get("content")):
            out += [Reasoning(text)] if kind == "thinking" else self._thinking.push(text)
        refusal = delta.get("refusal")
        if isinstance(refusal, str) and refusal:
            out.append(TextDelta(refusal))
        self._calls.push(delta.get("tool_calls"))
        return out

    def _count(self, usage: object) -> None:
        if isinstance(usage, dict):
            read, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
            if isinstance(read, int) and isinstance(written, int):
                self._usage = ChatUsage(max(0, read), max(0, written))


def _texts(content: object) -> list[tuple[str, str]]:
    """Return the kinds and texts of content: one string, or parts as Mistral streams them."""
    if isinstance(content, str):
        return [("text", content)] if content else []
    out: list[tuple[str, str]] = []
    for part in content if isinstance(content, list) else ():
        match part:
            case {"type": "thinking", "thinking": inner}:
                out += [("thinking", text) for _, text in _texts(inner)]
            case {"text": str(text)}:
                out.append(("text", text))
    return out


def _wire(message: ChatMessage) -> dict[str, Any]:
    """Return a message as the protocol has it."""
    wire: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.audio is not None:
        wav = wav_bytes(message.audio, CHAT_AUDIO_HZ)
        sound = {"data": base64.b64encode(wav).decode(), "format": "wav"}
        words = [{"type": "text", "text": message.text}] if message.text else []
        wire["content"] = [*words, {"type": "input_audio", "input_audio": sound}]
    if message.calls:
        wire["tool_calls"] = [
            {
                "id": call.call_id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.calls
        ]
    if message.call_id:
        wire["tool_call_id"] = message.call_id
    return wire


def _names(told: str, name: str) -> bool:
    """Return whether an error is about a field: by its name, or in words."""
    if name == "tools":
        refuses = re.search(r"support|enable|requires|unknown|unrecogni|permitted|allow", told)
        return bool(refuses and re.search(r"\btools?\b|function.?call|tool.?call", told))
    return bool(re.search(rf"\b{name}\b|\b{name.replace('_', ' ')}\b", told))


async def _one(body: bytes, where: str) -> AsyncGenerator[object, None]:
    """Yield the one object of a server that answers without a stream."""
    try:
        yield json.loads(body)
    except (ValueError, RecursionError):
        raise EngineLost(where, "an answer that is not JSON") from None
