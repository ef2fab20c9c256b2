"""One answer on its way out: gathered whole, or told piece by piece."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from server.http.resampled import RATE_HZ, ResampledChunks
from server.http.sse import sse
from server.routes.chat.models import ChatRequest
from step_audio.core.audio import float_to_pcm16
from step_audio.core.encoding import AudioFormat, SoundFile
from step_audio.core.types import AudioChunk, Pcm, TextDelta, ToolCall
from step_audio.dialog.prompting.context_window import Usage
from step_audio.dialog.response.pipeline import AnswerEvent

AUDIO_KEPT_S: Final = 3600


@dataclass
class ChatReply:
    """What came so far."""

    request: ChatRequest
    model: str
    completion_id: str
    audio_id: str
    client_tools: frozenset[str]
    usage: Usage = field(default_factory=Usage)
    created_s: int = field(default_factory=lambda: int(time.time()))
    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    max_tokens: int | None = None

    def note(self, event: AnswerEvent) -> None:
        """Take words and calls of the client's tools; server tools are the server's affair."""
        if isinstance(event, TextDelta):
            self.text += event.text
        elif isinstance(event, ToolCall) and event.name in self.client_tools:
            self.calls.append(event)

    @property
    def finish_reason(self) -> str:
        """Why the answer ended."""
        if self.calls:
            return "tool_calls"
        written = self.usage.output_text + self.usage.output_audio
        return "length" if self.max_tokens and written >= self.max_tokens else "stop"

    def usage_facts(self) -> dict[str, Any]:
        """Return ids read and written, in the names of the protocol."""
        usage = self.usage
        asked = usage.input_text + usage.input_audio
        written = usage.output_text + usage.output_audio
        return {
            "prompt_tokens": asked,
            "completion_tokens": written,
            "total_tokens": asked + written,
            "prompt_tokens_details": {"audio_tokens": usage.input_audio, "cached_tokens": 0},
            "completion_tokens_details": {
                "audio_tokens": usage.output_audio,
                "reasoning_tokens": 0,
            },
        }

    def calls_facts(self, *, numbered: bool = False) -> list[dict[str, Any]]:
        """Return the calls; in a stream each has its place in the list."""
        return [
            ({"index": at} if numbered else {})
            | {
                "id": call.call_id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for at, call in enumerate(self.calls)
        ]


async def whole(reply: ChatReply, events: AsyncGenerator[AnswerEvent, None]) -> bytes:
    """Return the completion once the answer is over."""
    resampled, pcm = ResampledChunks(), list[Pcm]()
    async with aclosing(events):
        async for event in events:
            reply.note(event)
            if isinstance(event, AudioChunk):
                pcm += resampled.push(event)
    pcm += resampled.flush()
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.calls:
        message |= {"content": reply.text or None, "tool_calls": reply.calls_facts()}
    elif reply.request.aloud:
        wanted = reply.request.audio.format if reply.request.audio else "wav"
        data = encoded(pcm, "pcm" if wanted == "pcm16" else wanted)
        audio = _audio_facts(reply) | {"data": base64.b64encode(data).decode()}
        message |= {"content": None, "audio": audio | {"transcript": reply.text}}
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": reply.finish_reason,
        "logprobs": None,
    }
    body = _base(reply, "chat.completion") | {"choices": [choice], "usage": reply.usage_facts()}
    return json.dumps(body).encode()


async def pieces(
    reply: ChatReply, events: AsyncGenerator[AnswerEvent, None]
) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of a streamed completion, the last one `[DONE]`."""
    aloud, resampled = reply.request.aloud, ResampledChunks()
    opened: dict[str, Any] = {"role": "assistant"}
    opened |= {"audio": _audio_facts(reply)} if aloud else {"content": ""}
    begun = False
    async with aclosing(events):
        async for event in events:
            if not begun:  # an answer that fails before is an error with a status
                yield _chunk(reply, opened)
                begun = True
            reply.note(event)
            if isinstance(event, TextDelta):
                said = {"transcript": event.text}
                yield _chunk(reply, {"audio": said} if aloud else {"content": event.text})
            elif isinstance(event, AudioChunk):
                for pcm in resampled.push(event):
                    yield _sound(reply, pcm)
    if not begun:
        yield _chunk(reply, opened)
    for pcm in resampled.flush():
        yield _sound(reply, pcm)
    if reply.calls:
        yield _chunk(reply, {"tool_calls": reply.calls_facts(numbered=True)})
    yield _chunk(reply, {}, finish_reason=reply.finish_reason)
    if reply.request.stream_options and reply.request.stream_options.include_usage:
        usage = {"choices": [], "usage": reply.usage_facts()}
        yield sse(_base(reply, "chat.completion.chunk") | usage)
    yield b"data: [DONE]\n\n"


def encoded(pcm: list[Pcm], audio_format: AudioFormat) -> bytes:
    """Return a whole sound file, whose header tells its length."""
    kept = io.BytesIO()
    file = SoundFile(kept, audio_format, RATE_HZ)
    for each in pcm:
        file.write(each)
    file.close()
    return kept.getvalue()


def _sound(reply: ChatReply, pcm: Pcm) -> bytes:
    data = base64.b64encode(float_to_pcm16(pcm)).decode()
    return _chunk(reply, {"audio": {"data": data}})


def _chunk(reply: ChatReply, delta: dict[str, Any], *, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
    return sse(_base(reply, "chat.completion.chunk") | {"choices": [choice]})


def _base(reply: ChatReply, kind: str) -> dict[str, Any]:
    return {
        "id": reply.completion_id,
        "object": kind,
        "created": reply.created_s,
        "model": reply.model,
    }


def _audio_facts(reply: ChatReply) -> dict[str, Any]:
    return {"id": reply.audio_id, "expires_at": reply.created_s + AUDIO_KEPT_S}
