"""POST /v1/audio/transcriptions and /v1/audio/translations: sound in, its words out."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, File, Form, UploadFile
from pydantic import BeforeValidator

from server.admission.limits import ServerSettings, Slots
from server.http.errors import RequestError, expects, responses
from server.http.sse import sse, with_error
from server.http.streamed import Streamed
from server.http.uploads import MAX_UPLOAD_S, decoded, warning_facts, warning_headers
from step_audio.core.containers import KINDS
from step_audio.core.ports import RecognitionHints
from step_audio.core.types import Pcm
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.transcription import RecordingTranscriber
from step_audio.dialog.turns.segmenter import Segment, Segmenter

TextFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]

_PIECE_S: Final = 10
"""So much sound at a time goes through the detector, so that a client who left is noticed."""
_JSON: Final = "application/json"
_PLAIN: Final = "text/plain; charset=utf-8"


def _in_small_letters(given: Any) -> Any:
    return given.strip().lower() if isinstance(given, str) else given


@dataclass(frozen=True)
class TranscriptionRequest:
    """The fields of the form besides the file."""

    model: Annotated[str, Form(description="any name; one model is loaded")] = ""
    language: Annotated[str, Form(max_length=32)] = ""
    prompt: Annotated[str, Form(max_length=4096)] = ""
    response_format: Annotated[TextFormat, Form(), BeforeValidator(_in_small_letters)] = "json"
    temperature: Annotated[float, Form(ge=0, le=1)] = 0.0
    stream: Annotated[bool, Form()] = False
    granularities: Annotated[
        list[Annotated[Literal["segment", "word"], BeforeValidator(_in_small_letters)]] | None,
        Form(alias="timestamp_granularities[]"),
    ] = None
    also: Annotated[str, Form(alias="timestamp_granularities", max_length=32)] = ""
    """The same as some programs write it."""
    include: Annotated[list[str] | None, Form(alias="include[]")] = None

    @property
    def wants_words(self) -> bool:
        """Whether the times of words are asked for."""
        return "word" in (self.granularities or ()) or "word" in self.also.lower()

    @property
    def unserved(self) -> tuple[str, ...]:
        """What is asked for and not known to any model here."""
        words = "the model knows no times of words; those of segments are in verbose_json"
        likely = "the model tells no probabilities; logprobs are left out"
        wishes = ((words, self.wants_words), (likely, "logprobs" in (self.include or ())))
        return tuple(said for said, wanted in wishes if wanted)


@dataclass(frozen=True, slots=True)
class SpokenSegment:
    """One segment and its words."""

    segment: Segment
    text: str
    language: str = ""


def transcriptions_router(
    assistant: Assistant, settings: ServerSettings, slots: Slots
) -> APIRouter:
    """Return the routes; a request holds one of `slots` while the model listens."""
    router = APIRouter(tags=["audio"])
    errors = responses(400, 413, 415, 503)

    @router.post(
        "/v1/audio/transcriptions",
        dependencies=[Depends(expects("multipart/form-data"))],
        response_class=Streamed,
        responses=errors | {200: _words()},
        summary="Write down what is said in a recording.",
    )
    async def transcriptions(
        file: Annotated[UploadFile, File(description=KINDS)],
        wanted: Annotated[TranscriptionRequest, Depends()],
    ) -> Streamed:
        hints = RecognitionHints(language=wanted.language, context=wanted.prompt)
        listener = _Listener(assistant, slots, file, hints, wanted.unserved)
        if wanted.stream:
            return Streamed(
                with_error(_events(listener)),
                "text/event-stream",
                send_timeout_s=settings.send_timeout_s,
                late_headers=lambda: warning_headers(listener.warnings),
            )
        return Streamed(
            _whole(listener, wanted),
            _JSON if wanted.response_format in ("json", "verbose_json") else _PLAIN,
            send_timeout_s=settings.send_timeout_s,
            late_headers=lambda: warning_headers(listener.warnings),
        )

    @router.post(
        "/v1/audio/translations",
        dependencies=[Depends(expects("multipart/form-data"))],
        responses=responses(400, 413, 415),
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

    def __init__(
        self,
        assistant: Assistant,
        slots: Slots,
        file: UploadFile,
        hints: RecognitionHints,
        warnings: tuple[str, ...],
    ) -> None:
        """Args: `warnings` are of the request; those of its sound join them."""
        self._assistant, self._slots, self._file = assistant, slots, file
        self._hints = hints
        self.seconds = 0.0
        self.warnings = warnings

    async def said(self) -> AsyncGenerator[SpokenSegment, None]:
        """Yield segment by segment. Raises RequestError, EngineError."""
        transcriber = RecordingTranscriber(self._assistant, self._hints)
        async with self._slots.wait():
            services = self._assistant.services
            sound = await decoded(services, self._file, max_s=MAX_UPLOAD_S, param="file")
            pcm, rate_hz = sound.pcm, sound.rate_hz
            self.seconds, self.warnings = sound.seconds, (*self.warnings, *sound.warnings)
            services.recorder.observe("transcribed_s", self.seconds)
            for segment in await self._segments(pcm, rate_hz):
                heard = await transcriber.heard(segment.cut(pcm, rate_hz), rate_hz)
                if heard.text:
                    yield SpokenSegment(segment, heard.text, heard.language)

    def facts(self, at: int, each: SpokenSegment, wanted: TranscriptionRequest) -> dict[str, Any]:
        """Return one segment with all fields that strict clients ask for.

        The model tells no probabilities: `avg_logprob` and `no_speech_prob` are always 0.
        """
        written = each.text.encode()
        return {
            "id": at,
            "seek": round(each.segment.start_s * 100),  # in Whisper's frames of 10 ms
            "start": round(each.segment.start_s, 3),
            "end": round(each.segment.end_s, 3),
            "text": each.text,
            "tokens": self._assistant.services.text_tokenizer.encode(each.text),
            "temperature": wanted.temperature,
            "avg_logprob": 0.0,
            "compression_ratio": round(len(written) / len(zlib.compress(written)), 3),
            "no_speech_prob": 0.0,
        }

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
            brief = {"text": text, "usage": _usage(listener)}
            yield json.dumps(brief | warning_facts(listener.warnings)).encode()
        case "verbose_json":
            segments = [listener.facts(at, each, wanted) for at, each in enumerate(said)]
            language = wanted.language or next((s.language for s in said if s.language), "unknown")
            facts = {"task": "transcribe", "language": language}
            body: dict[str, Any] = {**facts, "duration": round(listener.seconds, 3), "text": text}
            body |= {"segments": segments, "usage": _usage(listener)}
            body |= {"words": []} if wanted.wants_words else {}
            yield json.dumps(body | warning_facts(listener.warnings)).encode()


async def _events(listener: _Listener) -> AsyncGenerator[bytes, None]:
    """Yield the words as they are understood, a segment at a time."""
    text = ""
    async with aclosing(listener.said()) as heard:
        async for each in heard:
            delta = f" {each.text}" if text else each.text
            text += delta
            yield sse({"type": "transcript.text.delta", "delta": delta})
    done = {"type": "transcript.text.done", "text": text, "usage": _usage(listener)}
    yield sse(done | warning_facts(listener.warnings))


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
