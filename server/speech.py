"""POST /v1/audio/speech: text in, sound out while it is made."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Annotated, Final

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from server.errors import RequestError
from server.limits import Slots
from step_audio.core.audio import StreamResampler, float_to_pcm16, wav_header
from step_audio.core.types import Pcm
from step_audio.dialog.session import Assistant

RATE_HZ: Final = 24_000
MAX_INPUT_CHARS: Final = 4096
UNKNOWN_LENGTH: Final = 0xFFFFFFFF
_TYPES: Final = {"wav": "audio/wav", "pcm": "audio/pcm"}


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("the text is empty; send something to read aloud")
    return text


class VoiceId(BaseModel):
    """A voice in its object form."""

    id: str


class SpeechRequest(BaseModel):
    """What OpenAI clients send; fields not named here are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True)

    input: Annotated[str, Field(max_length=MAX_INPUT_CHARS), AfterValidator(_not_blank)]
    model: str | None = None
    voice: str | VoiceId | None = None
    response_format: str = "wav"
    speed: float = 1.0
    stream_format: str = "audio"


def speech_router(assistant: Assistant, slots: Slots) -> APIRouter:
    """Return the route; a request holds one of `slots` until its last byte is sent."""
    router = APIRouter()

    @router.post("/v1/audio/speech")
    async def speech(request: SpeechRequest) -> StreamingResponse:
        voice = request.voice.id if isinstance(request.voice, VoiceId) else request.voice
        _check(request)
        pieces = _pieces(assistant, request, voice, slots)
        # The first piece tells whether it works at all, while an error can still be a status.
        first = await anext(pieces)
        return StreamingResponse(
            _with_first(first, pieces), media_type=_TYPES[request.response_format]
        )

    return router


def _check(request: SpeechRequest) -> None:
    if request.response_format not in _TYPES:
        raise RequestError(
            f"response_format {request.response_format!r} is not supported; ask for wav or pcm",
            code="unsupported_value",
            param="response_format",
        )
    if request.speed != 1.0:
        raise RequestError(
            "this voice has one speed; leave speed at 1.0", code="unsupported_value", param="speed"
        )
    if request.stream_format != "audio":
        raise RequestError(
            "only stream_format audio is supported",
            code="unsupported_value",
            param="stream_format",
        )


async def _pieces(
    assistant: Assistant, request: SpeechRequest, voice: str | None, slots: Slots
) -> AsyncGenerator[bytes, None]:
    """Yield the file: 16-bit mono at 24 kHz, after a header without length for wav."""
    with slots.take():
        resampler: StreamResampler | None = None
        started = request.response_format == "pcm"
        async with aclosing(assistant.say(request.input, voice)) as chunks:
            async for chunk in chunks:
                resampler = resampler or StreamResampler(chunk.rate_hz, RATE_HZ)
                head = b"" if started else wav_header(RATE_HZ, UNKNOWN_LENGTH)
                started = True
                yield head + _encoded(resampler.push(chunk.pcm))
        yield _encoded(resampler.flush()) if resampler else b""


def _encoded(chunks: Iterable[Pcm]) -> bytes:
    return b"".join(float_to_pcm16(pcm) for pcm in chunks)


async def _with_first(
    first: bytes, rest: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    async with aclosing(rest):
        yield first
        async for piece in rest:
            yield piece
