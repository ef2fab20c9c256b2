"""Any server of the Realtime protocol as an examinee: one session a conversation.

Questions are sent as fast as the socket takes them, and committed; turn detection is off. Servers
of the beta protocol name some events otherwise: both names are known.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from server.observability.turns import SOUND
from step_audio.core.audio import float_to_pcm16, pcm16_to_float
from step_audio.core.errors import InputError
from step_audio.core.ports import ToolSpec
from step_audio.core.resampling import resample
from step_audio.core.types import Pcm, ToolCall
from step_audio.eval.callers import MAX_MESSAGE, RATE_HZ
from step_audio.eval.examinee import (
    AnswerRecord,
    AskedTurn,
    ExamineeBusy,
    ExamineeFailed,
    ExamineeGone,
)

TRANSCRIPT: Final = "conversation.item.input_audio_transcription.completed"
_WORDS: Final = frozenset(
    {
        "response.output_audio_transcript.delta",
        "response.audio_transcript.delta",
        "response.output_text.delta",
        "response.text.delta",
    }
)
_BUSY: Final = frozenset({429, 503})
_PIECE: Final = RATE_HZ // 5
_MOST_ROUNDS: Final = 4
"""Answers within one turn, where tools of ours are called in between."""


class RealtimeExaminee:
    """A server at a websocket address.

    Args:
        url: ws:// or wss:// address of the endpoint.
        key: bearer key, "" for none.
        name: in reports.
        places: sessions side by side.
        patience_s: so long one turn may take.
    """

    clones = False

    def __init__(
        self, url: str, key: str = "", *, name: str = "", places: int = 2, patience_s: float = 120
    ) -> None:
        self.name, self.places = name or url, places
        self._url, self._key, self._patience_s = url, key, patience_s

    async def answer(
        self, turns: Sequence[AskedTurn], tools: Sequence[ToolSpec] = ()
    ) -> list[AnswerRecord]:
        """See `Examinee`."""
        async with self._session() as socket:
            session: dict[str, Any] = _session({"model": "whisper-1"})
            if tools:
                session["tools"] = [_tool(tool) for tool in tools]
            await _send(socket, {"type": "session.update", "session": session})
            return [await self._turn(socket, turn, answers_calls=bool(tools)) for turn in turns]

    async def transcribe(self, pcm: Pcm, rate_hz: int, language: str) -> str:
        """See `Examinee`: by the transcription of the input."""
        told = {"model": "whisper-1"} | ({"language": language} if language else {})
        async with self._session() as socket:
            await _send(socket, {"type": "session.update", "session": _session(told)})
            await _say(socket, pcm, rate_hz)
            async for event in _events(socket):
                if event["type"] == TRANSCRIPT:
                    return str(event.get("transcript", ""))
                if event["type"].endswith("input_audio_transcription.failed"):
                    raise ExamineeFailed(str(event.get("error"))[:300])
                if event["type"] == "error":
                    raise ExamineeFailed(_why(event))
        raise ExamineeFailed("no transcript came")

    async def speak(
        self, text: str, example: tuple[Pcm, int] | None, example_text: str
    ) -> tuple[Pcm, int]:
        """Refused: the protocol has no event that reads a text aloud."""
        raise InputError("the Realtime protocol reads no texts aloud; take --rest or --profile")

    async def aclose(self) -> None:
        """Nothing is open between conversations."""

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[ClientConnection]:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        try:
            async with asyncio.timeout(30):
                socket = await connect(
                    self._url,
                    additional_headers=headers,
                    compression=None,
                    max_size=MAX_MESSAGE,
                    open_timeout=20,
                )
        except InvalidStatus as refused:
            status = refused.response.status_code
            if status in _BUSY:
                raise ExamineeBusy(f"{self._url} has no place") from None
            raise ExamineeGone(f"{self._url} answered {status}") from None
        except (OSError, TimeoutError, WebSocketException) as error:
            raise ExamineeGone(f"nobody answers at {self._url} ({type(error).__name__})") from None
        try:
            async with socket, asyncio.timeout(self._patience_s * _MOST_ROUNDS):
                yield socket
        except ConnectionClosed as closed:
            raise ExamineeFailed(f"the connection was closed: {closed}") from None
        except TimeoutError:
            raise ExamineeFailed(f"no answer within {self._patience_s:g} s") from None

    async def _turn(
        self, socket: ClientConnection, turn: AskedTurn, *, answers_calls: bool
    ) -> AnswerRecord:
        if turn.pcm is None:
            content = [{"type": "input_text", "text": turn.text}]
            item = {"type": "message", "role": "user", "content": content}
            await _send(socket, {"type": "conversation.item.create", "item": item})
        else:
            await _say(socket, turn.pcm, turn.rate_hz)
        answer = _Answer(time.monotonic())
        for _ in range(_MOST_ROUNDS):
            await _send(socket, {"type": "response.create"})
            async with asyncio.timeout(self._patience_s):
                calls = await answer.read(socket)
            if not (calls and answers_calls):
                break
            for call in calls:
                output = {"type": "function_call_output", "call_id": call.call_id, "output": "{}"}
                await _send(socket, {"type": "conversation.item.create", "item": output})
        return answer.record()


class _Answer:
    """What the events of one turn hold."""

    def __init__(self, asked_s: float) -> None:
        self._asked_s, self._first_s, self._last_s = asked_s, 0.0, 0.0
        self._heard, self._text, self._error = "", "", ""
        self._sounds: list[bytes] = []
        self._calls: list[ToolCall] = []

    async def read(self, socket: ClientConnection) -> list[ToolCall]:
        """Take events up to the end of a response; return the calls that it made."""
        async for event in _events(socket):
            kind = event["type"]
            if kind in SOUND:
                self._hear(event)
            elif kind in _WORDS:
                self._text += str(event.get("delta", ""))
            elif kind == TRANSCRIPT:
                self._heard = str(event.get("transcript", ""))
            elif kind == "error" and not _harmless(event):
                self._error = _why(event)
                return []
            elif kind == "response.done":
                return self._done(event.get("response") or {})
        raise ExamineeFailed("the connection ended before the answer did")

    def _hear(self, event: Mapping[str, Any]) -> None:
        try:
            self._sounds.append(base64.b64decode(str(event.get("delta", "")), validate=True))
        except binascii.Error:
            raise ExamineeFailed("its sound is not base64") from None
        self._last_s = time.monotonic()
        self._first_s = self._first_s or self._last_s

    def _done(self, response: Mapping[str, Any]) -> list[ToolCall]:
        status = str(response.get("status"))
        if status not in ("completed", "incomplete"):
            self._error = f"response {status}: {str(response.get('status_details'))[:300]}"
        calls = [
            ToolCall(
                str(item.get("call_id")), str(item.get("name")), str(item.get("arguments") or "{}")
            )
            for item in response.get("output") or ()
            if isinstance(item, Mapping) and item.get("type") == "function_call"
        ]
        self._calls += calls
        return calls

    def record(self) -> AnswerRecord:
        """Return what came. Raises ExamineeFailed: its sound is not whole samples."""
        data = b"".join(self._sounds)
        pcm = pcm16_to_float(data[: len(data) // 2 * 2])
        first_ms = (self._first_s - self._asked_s) * 1000 if len(pcm) else None
        took_s = self._last_s - self._asked_s
        return AnswerRecord(
            self._heard,
            self._text,
            tuple(self._calls),
            pcm if len(pcm) else np.zeros(0, np.float32),
            RATE_HZ,
            first_ms,
            took_s / (len(pcm) / RATE_HZ) if len(pcm) else None,
            self._error,
        )


def _session(transcription: Mapping[str, str]) -> dict[str, Any]:
    heard = {"turn_detection": None, "transcription": dict(transcription)}
    return {"type": "realtime", "audio": {"input": heard}}


def _tool(tool: ToolSpec) -> dict[str, Any]:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
    }


async def _say(socket: ClientConnection, pcm: Pcm, rate_hz: int) -> None:
    sound = resample(pcm, rate_hz, RATE_HZ) if rate_hz != RATE_HZ else pcm
    for at in range(0, len(sound), _PIECE):
        audio = base64.b64encode(float_to_pcm16(sound[at : at + _PIECE])).decode()
        await _send(socket, {"type": "input_audio_buffer.append", "audio": audio})
    await _send(socket, {"type": "input_audio_buffer.commit"})


async def _send(socket: ClientConnection, event: Mapping[str, Any]) -> None:
    await socket.send(json.dumps(event))


async def _events(socket: ClientConnection) -> AsyncIterator[Mapping[str, Any]]:
    """Yield the server's events; what is none ends the conversation."""
    async for message in socket:
        try:
            event = json.loads(message)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            raise ExamineeFailed("it sent something that is no event")
        yield event


def _harmless(event: Mapping[str, Any]) -> bool:
    """Whether an error is about a setting that not every server has."""
    error = event.get("error")
    place = str(error.get("param")) if isinstance(error, Mapping) else ""
    return "transcription" in place


def _why(event: Mapping[str, Any]) -> str:
    error = event.get("error")
    told = error.get("message") if isinstance(error, Mapping) else error
    return " ".join(str(told).split())[:300]
