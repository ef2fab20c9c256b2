"""One answer on its way out: gathered whole, or told piece by piece."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from server.http.resampled import RATE_HZ, ResampledChunks
from server.http.sse import sse
from server.http.uploads import warning_facts
from server.routes.chat.models import ChatRequest
from step_audio.core.audio import float_to_pcm16
from step_audio.core.encoding import AudioFormat, SoundFile
from step_audio.core.types import AudioChunk, Pcm, TextDelta, ToolCall
from step_audio.dialog.prompting.context_window import Usage
from step_audio.dialog.response.pipeline import AnswerEvent

AUDIO_KEPT_S: Final = 3600


class StopSequences:
    """Text up to the first of some sequences; what may be the beginning of one is held back."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops, self._held = stops, ""
        self.reached = False

    def push(self, text: str) -> str:
        """Return what can be sent of the text so far."""
        if self.reached:
            return ""
        self._held += text
        ends = [at for at in map(self._held.find, self._stops) if at >= 0]
        if ends:
            self.reached = True
            return self._taken(min(ends))
        open_ = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        return self._taken(len(self._held) - open_)

    def flush(self) -> str:
        """Return what was held back: no sequence came of it."""
        return "" if self.reached else self._taken(len(self._held))

    def _taken(self, count: int) -> str:
        taken, self._held = self._held[:count], self._held[count:]
        return taken


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of a text begin `stop`."""
    most = min(len(text), len(stop) - 1)
    return next((n for n in range(most, 0, -1) if text.endswith(stop[:n])), 0)


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
    warnings: list[str] = field(default_factory=list)
    """What was skipped of the sound that was sent."""
    stops: StopSequences = field(init=False)

    def __post_init__(self) -> None:
        self.stops = StopSequences(self.request.stops)

    def note(self, event: AnswerEvent) -> str:
        """Take words and calls of the client's tools, and return the words that can be sent.

        Server tools are the server's affair.
        """
        if isinstance(event, TextDelta):
            return self._said(self.stops.push(event.text))
        room = not self.calls or self.request.parallel_tool_calls is not False
        if isinstance(event, ToolCall) and event.name in self.client_tools and room:
            self.calls.append(event)
        return ""

    def end(self) -> str:
        """Return the words that were still held back."""
        return self._said(self.stops.flush())

    def _said(self, text: str) -> str:
        self.text += text
        return text

    @property
    def finish_reason(self) -> str:
        """Why the answer ended."""
        if self.calls:
            return "tool_calls"
        if self.stops.reached:
            return "stop"
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
            if reply.stops.reached:
                break
            if isinstance(event, AudioChunk):
                pcm += resampled.push(event)
    reply.end()
    pcm += resampled.flush()
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.calls:
        message |= {"content": reply.text or None, "tool_calls": reply.calls_facts()}
    elif reply.request.aloud:
        wanted = reply.request.audio.format if reply.request.audio else "wav"
        data = await asyncio.to_thread(encoded, pcm, "pcm" if wanted == "pcm16" else wanted)
        audio = _audio_facts(reply) | {"data": base64.b64encode(data).decode()}
        message |= {"content": None, "audio": audio | {"transcript": reply.text}}
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": reply.finish_reason,
        "logprobs": None,
    }
    body = _base(reply, "chat.completion") | {"choices": [choice], "usage": reply.usage_facts()}
    return json.dumps(body | warning_facts(reply.warnings)).encode()


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
            if text := reply.note(event):
                yield _words(reply, text)
            if reply.stops.reached:
                break
            if isinstance(event, AudioChunk):
                for pcm in resampled.push(event):
                    yield _sound(reply, pcm)
    if not begun:
        yield _chunk(reply, opened)
    if text := reply.end():
        yield _words(reply, text)
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


def _words(reply: ChatReply, text: str) -> bytes:
    said = {"transcript": text}
    return _chunk(reply, {"audio": said} if reply.request.aloud else {"content": text})


def _sound(reply: ChatReply, pcm: Pcm) -> bytes:
    data = base64.b64encode(float_to_pcm16(pcm)).decode()
    return _chunk(reply, {"audio": {"data": data}})


def _chunk(reply: ChatReply, delta: dict[str, Any], *, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
    # With the last piece: what was skipped of the sound that was sent.
    warnings = warning_facts(reply.warnings) if finish_reason else {}
    return sse(_base(reply, "chat.completion.chunk") | {"choices": [choice]} | warnings)


def _base(reply: ChatReply, kind: str) -> dict[str, Any]:
    return {
        "id": reply.completion_id,
        "object": kind,
        "created": reply.created_s,
        "model": reply.model,
    }


def _audio_facts(reply: ChatReply) -> dict[str, Any]:
    return {"id": reply.audio_id, "expires_at": reply.created_s + AUDIO_KEPT_S}
