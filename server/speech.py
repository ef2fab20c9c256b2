"""POST /v1/audio/speech: text in, sound out while it is made."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from server.errors import RequestError, error_body, expects, responses
from server.limits import ServerSettings, Slots
from server.streamed import Streamed
from server.voices import VoiceId, VoiceNames
from step_audio.core.audio import StreamResampler
from step_audio.core.delivery import SPEEDS
from step_audio.core.encoding import MEDIA_TYPES, AudioFormat, open_encoder
from step_audio.core.errors import StepAudioError
from step_audio.dialog.session import Assistant
from step_audio.dialog.styles import Manner

RATE_HZ: Final = 24_000
MAX_INPUT_CHARS: Final = 100_000
"""About two hours of speech; a book goes in chapters, or through `step-audio say --file`."""


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("the text is empty; send something to read aloud")
    return text


class SpeechRequest(BaseModel):
    """What OpenAI clients send; fields not named here are ignored."""

    model_config = ConfigDict(
        extra="ignore",
        strict=True,
        json_schema_extra={
            "example": {
                "model": "step-audio-nano",
                "input": "Twelve plus thirty is forty two.",
                "voice": "alloy",
            }
        },
    )

    input: Annotated[str, Field(min_length=1), AfterValidator(_not_blank)]
    """What to read: at most 100 000 characters, style tags such as "(happy)" included."""
    model: str | None = None
    voice: str | VoiceId | None = None
    response_format: AudioFormat = "mp3"
    speed: float = Field(default=1.0, ge=SPEEDS[0], le=SPEEDS[1])
    volume: float = Field(default=1.0, ge=0.1, le=2.0)
    """StepFun's; 1.0 is as loud as it comes."""
    instructions: Annotated[str, Field(max_length=4096)] | None = None
    """How to read it; styles named in it are followed where the model knows them."""
    stream_format: Literal["audio", "sse"] = "audio"


def speech_router(
    assistant: Assistant, settings: ServerSettings, slots: Slots, names: VoiceNames
) -> APIRouter:
    """Return the route; a request holds one of `slots` until its last byte is sent."""
    router = APIRouter(tags=["audio"])

    @router.post(
        "/v1/audio/speech",
        dependencies=[Depends(expects("application/json"))],
        response_class=Streamed,
        responses=responses(400, 413, 415, 422, 503) | {200: _sound()},
        summary="Read a text aloud; the sound comes while it is made.",
    )
    async def speech(request: SpeechRequest) -> Streamed:
        if len(request.input) > MAX_INPUT_CHARS:
            raise RequestError(
                f"input has {len(request.input)} characters, more than {MAX_INPUT_CHARS}; "
                "send it in parts",
                code="string_above_max_length",
                param="input",
                status=413,
            )
        voice = names.resolve(request.voice)
        if request.stream_format == "sse":
            pieces, media_type = _events(assistant, request, voice, slots), "text/event-stream"
        else:
            pieces = _pieces(assistant, request, voice, slots)
            media_type = MEDIA_TYPES[request.response_format]
        return Streamed(
            pieces,
            media_type,
            send_timeout_s=settings.send_timeout_s,
            headers={"cache-control": "no-store"},
        )

    return router


def _sound() -> dict[str, Any]:
    """Return what OpenAPI says about an answer of sound."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    types = dict.fromkeys(MEDIA_TYPES.values(), binary)
    return {"description": "The sound.", "content": {**types, "text/event-stream": {}}}


async def _pieces(
    assistant: Assistant, request: SpeechRequest, voice: str, slots: Slots
) -> AsyncGenerator[bytes, None]:
    """Yield the file: mono at 24 kHz, each piece as soon as the encoder has it."""
    manner = Manner(request.speed, request.volume, request.instructions or "")
    async with slots.wait():
        encoder = open_encoder(request.response_format, RATE_HZ)
        resampler: StreamResampler | None = None
        async with aclosing(assistant.say(request.input, voice, manner)) as chunks:
            async for chunk in chunks:
                resampler = resampler or StreamResampler(chunk.rate_hz, RATE_HZ)
                for pcm in resampler.push(chunk.pcm):
                    if piece := b"".join(encoder.push(pcm)):
                        yield piece
        for pcm in resampler.flush() if resampler else ():
            yield b"".join(encoder.push(pcm))
        yield b"".join(encoder.flush())


async def _events(
    assistant: Assistant, request: SpeechRequest, voice: str, slots: Slots
) -> AsyncGenerator[bytes, None]:
    """Yield the same as server-sent events; an error in the middle is an event too."""
    started = False
    try:
        async with aclosing(_pieces(assistant, request, voice, slots)) as pieces:
            async for piece in pieces:
                audio = base64.b64encode(piece).decode()
                yield sse({"type": "speech.audio.delta", "audio": audio})
                started = True
    except StepAudioError as error:
        if not started:
            raise
        body = error_body(str(error), kind="server_error", code=error.code)
        yield sse({"type": "error", **body})
        return
    read = len(assistant.services.text_tokenizer.encode(request.input))
    usage = {"input_tokens": read, "output_tokens": 0, "total_tokens": read}
    yield sse({"type": "speech.audio.done", "usage": usage})


def sse(event: dict[str, Any]) -> bytes:
    """Return one server-sent event."""
    return b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"
