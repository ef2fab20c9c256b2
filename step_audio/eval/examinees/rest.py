"""Any OpenAI-compatible REST server as an examinee.

Spoken questions go to `/chat/completions` as `input_audio`, with speech asked for. A server that
refuses that is asked in three steps: `/audio/transcriptions`, `/chat/completions` with the words,
`/audio/speech`. Which of the two it was stands in the report.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx

from step_audio.core.audio import wav_bytes
from step_audio.core.decoding import decode_sound
from step_audio.core.errors import AudioError
from step_audio.core.ports import ToolSpec
from step_audio.core.types import Pcm, ToolCall
from step_audio.eval.examinee import (
    AnswerRecord,
    AskedTurn,
    ExamineeBusy,
    ExamineeFailed,
    ExamineeGone,
)

_BUSY: Final = frozenset({429, 503})
_REFUSED: Final = frozenset({400, 404, 405, 415, 422, 501})
_MOST_BYTES: Final = 64 << 20
_MAX_ANSWER_S: Final = 600.0


class RestExaminee:
    """A server at an http address.

    Args:
        url: what OpenAI's clients call the base address, up to and with `/v1`.
        key: bearer key, "" for none.
        model: its name for chat; "" for the first that it lists.
        voice: its name of a voice.
        name: in reports.
        places: requests side by side.
    """

    clones = False

    def __init__(
        self,
        url: str,
        key: str = "",
        *,
        model: str = "",
        voice: str = "alloy",
        name: str = "",
        places: int = 2,
        patience_s: float = 120,
    ) -> None:
        self.name, self.places = name or url, places
        self.form = ""
        """How it takes spoken questions, known after the first: "one step", "three steps"."""
        self._url, self._model, self._voice = url.rstrip("/"), model, voice
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.AsyncClient(headers=headers, timeout=patience_s)

    async def answer(
        self, turns: Sequence[AskedTurn], tools: Sequence[ToolSpec] = ()
    ) -> list[AnswerRecord]:
        """See `Examinee`."""
        if self.form != "three steps":
            try:
                records = await self._spoken(turns, tools)
            except _Refused:
                if self.form:
                    raise
            else:
                self.form = "one step"
                return records
        records = await self._in_steps(turns, tools)
        self.form = "three steps"
        return records

    async def transcribe(self, pcm: Pcm, rate_hz: int, language: str) -> str:
        """See `Examinee`."""
        form = {"model": "whisper-1", "response_format": "json", "temperature": "0"}
        form |= {"language": language} if language else {}
        files = {"file": ("speech.wav", wav_bytes(pcm, rate_hz), "audio/wav")}
        told = _object(await self._post("/audio/transcriptions", data=form, files=files))
        if not isinstance(told.get("text"), str):
            raise ExamineeFailed("an answer without a transcript")
        return str(told["text"])

    async def speak(
        self, text: str, example: tuple[Pcm, int] | None, example_text: str
    ) -> tuple[Pcm, int]:
        """See `Examinee`: in the server's own voice; this REST has no way to send an example."""
        body = {"model": "tts-1", "input": text, "voice": self._voice, "response_format": "wav"}
        return _decoded(await self._post("/audio/speech", json=body))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _spoken(
        self, turns: Sequence[AskedTurn], tools: Sequence[ToolSpec]
    ) -> list[AnswerRecord]:
        messages: list[dict[str, Any]] = []
        records = []
        for turn in turns:
            content: Any = turn.text
            if turn.pcm is not None:
                data = base64.b64encode(wav_bytes(turn.pcm, turn.rate_hz)).decode()
                content = [{"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}]
            messages.append({"role": "user", "content": content})
            asked_s = time.monotonic()
            message = await self._complete(
                messages,
                tools,
                modalities=["text", "audio"],
                audio={"voice": self._voice, "format": "wav"},
            )
            sound = message.get("audio")
            spoken = None
            text = str(message.get("content") or "")
            if isinstance(sound, Mapping) and sound.get("data"):
                spoken = _decoded(_unpacked(str(sound["data"])))
                text = str(sound.get("transcript") or text)
            messages.append({"role": "assistant", "content": text})
            records.append(_record(("", text), message, spoken, time.monotonic() - asked_s))
        return records

    async def _in_steps(
        self, turns: Sequence[AskedTurn], tools: Sequence[ToolSpec]
    ) -> list[AnswerRecord]:
        messages: list[dict[str, Any]] = []
        records = []
        for turn in turns:
            asked_s = time.monotonic()
            heard = turn.text
            if turn.pcm is not None:
                heard = await self.transcribe(turn.pcm, turn.rate_hz, "")
            messages.append({"role": "user", "content": heard})
            message = await self._complete(messages, tools)
            text = str(message.get("content") or "")
            messages.append({"role": "assistant", "content": text})
            spoken = await self.speak(text, None, "") if text else None
            records.append(_record((heard, text), message, spoken, time.monotonic() - asked_s))
        return records

    async def _complete(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[ToolSpec], **more: Any
    ) -> Mapping[str, Any]:
        if not self._model:
            self._model = await self._first_model()
        body: dict[str, Any] = {"model": self._model, "messages": list(messages), **more}
        body["temperature"] = 0
        if tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.description,
                        "parameters": tool.parameters,
                    },
                }
                for tool in tools
            ]
        told = _object(await self._post("/chat/completions", json=body))
        try:
            message = told["choices"][0]["message"]
        except (LookupError, TypeError):
            message = None
        if not isinstance(message, Mapping):
            raise ExamineeFailed("an answer without a message")
        return message

    async def _first_model(self) -> str:
        try:
            answer = await self._client.get(f"{self._url}/models")
            listed = answer.json()["data"]
            return str(listed[0]["id"])
        except httpx.TransportError as error:
            raise self._gone(error) from None
        except (LookupError, TypeError, ValueError):
            return "default"

    async def _post(self, path: str, **request: Any) -> bytes:
        try:
            async with self._client.stream("POST", self._url + path, **request) as answer:
                blocks, size = [], 0
                async for block in answer.aiter_bytes():
                    blocks.append(block)
                    size += len(block)
                    if size > _MOST_BYTES:
                        raise ExamineeFailed(f"{path} sent more than {_MOST_BYTES >> 20} MiB")
        except httpx.TimeoutException:
            raise ExamineeFailed(f"{path} was too slow") from None
        except httpx.TransportError as error:
            raise self._gone(error) from None
        body = b"".join(blocks)
        if answer.is_success:
            return body
        why = f"{path} answered {answer.status_code}: {body[:200].decode('utf-8', 'replace')}"
        if answer.status_code in _BUSY:
            raise ExamineeBusy(why)
        if answer.status_code in _REFUSED:
            raise _Refused(why)
        if answer.status_code in (401, 403):
            raise ExamineeGone(why)
        raise ExamineeFailed(why)

    def _gone(self, error: httpx.TransportError) -> ExamineeGone:
        return ExamineeGone(f"nobody answers at {self._url} ({type(error).__name__})")


class _Refused(ExamineeFailed):
    """It will refuse the same again."""


def _record(
    words: tuple[str, str], message: Mapping[str, Any], sound: tuple[Pcm, int] | None, took_s: float
) -> AnswerRecord:
    """Return an answer of (heard, text). Sound that comes whole is heard when it is there."""
    heard, text = words
    calls = tuple(_calls(message))
    if sound is None:
        return AnswerRecord(heard, text, calls)
    pcm, rate_hz = sound
    rtf = took_s / (len(pcm) / rate_hz)
    return AnswerRecord(heard, text, calls, pcm, rate_hz, took_s * 1000, rtf)


def _calls(message: Mapping[str, Any]) -> list[ToolCall]:
    calls = []
    for call in message.get("tool_calls") or ():
        made = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(made, Mapping):
            arguments = str(made.get("arguments") or "{}")
            calls.append(ToolCall(str(call.get("id")), str(made.get("name")), arguments))
    return calls


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise ExamineeFailed("an answer that is not a JSON object")
    return told


def _unpacked(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error:
        raise ExamineeFailed("its sound is not base64") from None


def _decoded(data: bytes) -> tuple[Pcm, int]:
    try:
        sound = decode_sound(data, _MAX_ANSWER_S)
    except AudioError as error:
        raise ExamineeFailed(f"its sound cannot be heard: {error}") from None
    return sound.pcm, sound.rate_hz
