"""POST /v1/audio/transcriptions and /v1/audio/translations: sound in, its words out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, File, Form, UploadFile

from server.admission.limits import ServerSettings, Slots
from server.http.errors import RequestError, expects, responses
from server.http.sse import sse, with_error
from server.http.streamed import Streamed
from server.http.uploads import MAX_UPLOAD_S, decoded
from step_audio.core.types import Pcm
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.transcription import ModelTranscriber
from step_audio.dialog.turns.segmenter import Segment, Segmenter

TextFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]

_PIECE_S: Final = 10
"""So much sound at a time goes through the detector, so that a client who left is noticed."""
_JSON: Final = "application/json"
_PLAIN: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class TranscriptionRequest:
    """The fields of the form besides the file."""

    model: Annotated[str, Form(description="any name; one model is loaded")] = ""
    language: Annotated[str, Form(max_length=32)] = ""
    prompt: Annotated[str, Form(max_length=4096)] = ""
    response_format: Annotated[TextFormat, Form()] = "json"
    temperature: Annotated[float, Form(ge=0, le=1)] = 0.0
    stream: Annotated[bool, Form()] = False
    granularities: Annotated[
        list[Literal["segment", "word"]] | None, Form(alias="timestamp_granularities[]")
    ] = None


@dataclass(frozen=True, slots=True)
class SpokenSegment:
    """One segment and its words."""

    segment: Segment
    text: str


def transcriptions_router(
    assistant: Assistant, settings: ServerSettings, slots: Slots
) -> APIRouter:
    """Return the routes; a request holds one of `slots` while the model listens."""
    router = APIRouter(tags=["audio"])
    errors = responses(400, 413, 415, 422, 503)

    @router.post(
        "/v1/audio/transcriptions",
        dependencies=[Depends(expects("multipart/form-data"))],
        response_class=Streamed,
        responses=errors | {200: _words()},
        summary="Write down what is said in a recording.",
    )
    async def transcriptions(
        file: Annotated[UploadFile, File(description="wav, flac, ogg, mp3, m4a, aac or webm")],
        wanted: Annotated[TranscriptionRequest, Depends()],
    ) -> Streamed:
        if "word" in (wanted.granularities or ()):
            raise RequestError(
                "this model knows no times of words; ask for segment",
                code="unsupported_value",
                param="timestamp_granularities[]",
            )
        listener = _Listener(assistant, slots, file)
        if wanted.stream:
            return Streamed(
                with_error(_events(listener)),
                "text/event-stream",
                send_timeout_s=settings.send_timeout_s,
            )
        return Streamed(
            _whole(listener, wanted),
            _JSON if wanted.response_format in ("json", "verbose_json") else _PLAIN,
            send_timeout_s=settings.send_timeout_s,
        )

    @router.post(
        "/v1/audio/translations",
        dependencies=[Depends(expects("multipart/form-data"))],
        responses=responses(400, 413, 415, 422),
        summary="Refused: no model here translates.",
    )
    async def translations(
        file: Annotated[UploadFile, File()], model: Annotated[str, Form()] = ""
    ) -> dict[str, str]:
        raise RequestError(
            f"{assistant.services.model_name} does not translate; "
            "POST /v1/audio/transcriptions writes down what was said, in its own language",
            code="unsupported_operation",
            param="model",
        )

    return router


class _Listener:
    """One upload on its way to words."""

    def __init__(self, assistant: Assistant, slots: Slots, file: UploadFile) -> None:
        self._assistant, self._slots, self._file = assistant, slots, file
        self.seconds = 0.0

    async def said(self) -> AsyncGenerator[SpokenSegment, None]:
        """Yield segment by segment. Raises RequestError, AudioTooLong, EngineError."""
        transcriber = ModelTranscriber(self._assistant)
        async with self._slots.wait():
            pcm, rate_hz = await decoded(self._file.file, max_s=MAX_UPLOAD_S, param="file")
            self.seconds = len(pcm) / rate_hz
            self._assistant.services.recorder.observe("transcribed_s", self.seconds)
            for segment in await self._segments(pcm, rate_hz):
                text = await transcriber.transcribe(segment.cut(pcm, rate_hz), rate_hz)
                if text:
                    yield SpokenSegment(segment, text)

    async def _segments(self, pcm: Pcm, rate_hz: int) -> list[Segment]:
        segmenter = Segmenter(
            self._assistant.services.turn_detector, rate_hz, self._assistant.settings.max_question_s
        )
        step = _PIECE_S * rate_hz
        for start in range(0, len(pcm), step):
            await asyncio.to_thread(segmenter.push, pcm[start : start + step])
        return await asyncio.to_thread(segmenter.finish)


async def _whole(listener: _Listener, wanted: TranscriptionRequest) -> AsyncGenerator[bytes, None]:
    async with aclosing(listener.said()) as heard:
        said = [each async for each in heard]
    text = " ".join(each.text for each in said)
    match wanted.response_format:
        case "text":
            yield f"{text}\n".encode()
        case "srt":
            yield _subtitles(said, ",").encode()
        case "vtt":
            yield f"WEBVTT\n\n{_subtitles(said, '.')}".encode()
        case "json":
            yield json.dumps({"text": text, "usage": _usage(listener)}).encode()
        case "verbose_json":
            segments = [
                {
                    "id": at,
                    "start": round(each.segment.start_s, 3),
                    "end": round(each.segment.end_s, 3),
                    "text": each.text,
                }
                for at, each in enumerate(said)
            ]
            facts = {"task": "transcribe", "language": wanted.language or "unknown"}
            body = {**facts, "duration": round(listener.seconds, 3), "text": text}
            yield json.dumps({**body, "segments": segments, "usage": _usage(listener)}).encode()


async def _events(listener: _Listener) -> AsyncGenerator[bytes, None]:
    """Yield the words as they are understood, a segment at a time."""
    text = ""
    async with aclosing(listener.said()) as heard:
        async for each in heard:
            delta = f" {each.text}" if text else each.text
            text += delta
            yield sse({"type": "transcript.text.delta", "delta": delta})
    yield sse({"type": "transcript.text.done", "text": text, "usage": _usage(listener)})


def _usage(listener: _Listener) -> dict[str, Any]:
    return {"type": "duration", "seconds": round(listener.seconds, 3)}


def _subtitles(said: list[SpokenSegment], point: str) -> str:
    """Return numbered captions; subtitles write times with a comma, WebVTT with a point."""
    lines = []
    for number, each in enumerate(said, start=1):
        times = (_clock(t, point) for t in (each.segment.start_s, each.segment.end_s))
        lines += [str(number), " --> ".join(times), each.text, ""]
    return "\n".join(lines)


def _clock(seconds: float, point: str) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3600000:02}:{ms // 60000 % 60:02}:{ms // 1000 % 60:02}{point}{ms % 1000:03}"


def _words() -> dict[str, Any]:
    """Return what OpenAPI says about a transcript."""
    text = {"type": "string"}
    whole = {"type": "object", "required": ["text"], "properties": {"text": text}}
    return {
        "description": "The words: JSON, or text for the other formats, or events.",
        "content": {
            _JSON: {"schema": whole},
            "text/plain": {"schema": text},
            "text/event-stream": {},
        },
    }
