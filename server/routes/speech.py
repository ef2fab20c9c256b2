"""POST /v1/audio/speech: text in, sound out while it is made."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing
from tempfile import SpooledTemporaryFile
from typing import Annotated, Any, BinaryIO, Final, Literal, cast

import numpy as np
from fastapi import APIRouter, Depends
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from server.admission.limits import ServerSettings, Slots
from server.http.errors import RequestError, expects, responses
from server.http.resampled import RATE_HZ, ResampledChunks
from server.http.sse import sse, with_error
from server.http.streamed import Streamed
from server.http.uploads import warning_headers
from server.text_options import TextOptionFields
from server.voice_names import VoiceId, VoiceNames
from step_audio.core.delivery import SPEEDS
from step_audio.core.encoding import MEDIA_TYPES, AudioFormat, SoundFile, open_encoder, usual_name
from step_audio.core.errors import CannotSing
from step_audio.core.types import Pcm, TextOptions
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.speakable.characters import has_words
from step_audio.dialog.speakable.scripts import UnreadableText
from step_audio.dialog.speakable.style_tags import ReadingStyle, styled

MAX_INPUT_CHARS: Final = 100_000
"""About two hours of speech; a book goes in chapters, or through `step-audio say --file`."""
PAUSE_S: Final = 0.5
"""Of an input without a letter or figure, such as the stars between two scenes of a book."""
WAIT_S: Final = 600.0
"""Longest wait for a place: books are sent chapter by chapter, several at a time."""
MAX_WARNINGS: Final = 20
OUTSIDE_HEADER: Final = "x-out-of-domain"
KEPT_BYTES: Final = 8 << 20
"""Of a file that is sent whole; the rest of it waits on the disk."""


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("the text is empty; send something to read aloud")
    return text


class SpeechRequest(TextOptionFields):
    """What OpenAI clients send."""

    model_config = ConfigDict(
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
    response_format: Annotated[AudioFormat, BeforeValidator(usual_name)] = "mp3"
    speed: float = Field(default=1.0, ge=SPEEDS[0], le=SPEEDS[1])
    volume: float = Field(default=1.0, ge=0.1, le=2.0)
    """StepFun's; 1.0 is as loud as it comes."""
    sample_rate: Literal[8000, 16000, 24000, 48000] = RATE_HZ
    """StepFun's, in Hz: of every format, pcm included."""
    instructions: Annotated[str, Field(max_length=4096)] | None = None
    """How to read it; styles named in it are followed where the model knows them."""
    stream_format: Literal["audio", "sse"] = "audio"
    stream: bool = True
    """False: the whole file at once, when it is made; its header then tells the length."""


def speech_router(
    assistant: Assistant, settings: ServerSettings, slots: Slots, names: VoiceNames
) -> APIRouter:
    """Return the route; a request holds one of `slots` until its last byte is sent."""
    router = APIRouter(tags=["audio"])

    @router.post(
        "/v1/audio/speech",
        dependencies=[Depends(expects("application/json"))],
        response_class=Streamed,
        responses=responses(400, 413, 415, 503) | {200: _sound()},
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
        assistant.services.recorder.observe("speech_characters", len(request.input))
        options = request.text_options(assistant.settings.text_options)
        headers = await _warnings(assistant, request, options)
        voice = await names.resolve_field(request.voice, "voice")
        if request.stream_format == "sse":
            pieces = with_error(_events(assistant, request, voice, options, slots))
            media_type = "text/event-stream"
        else:
            made = _pieces if request.stream else _whole
            pieces = made(assistant, request, voice, options, slots)
            media_type = MEDIA_TYPES[request.response_format]
        return Streamed(
            pieces,
            media_type,
            send_timeout_s=settings.send_timeout_s,
            headers={
                "cache-control": "no-store",
                **_domain_headers(assistant, request.input),
                **headers,
            },
        )

    return router


async def _warnings(
    assistant: Assistant, request: SpeechRequest, options: TextOptions
) -> dict[str, str]:
    """Return the header that says what is left out of a text, if anything is.

    Raises:
        RequestError: a text that the model would only babble at, or that asks what it cannot do.
    """
    try:
        warnings = await assistant.check_text(request.input, request.instructions or "", options)
    except (UnreadableText, CannotSing) as error:
        raise RequestError(str(error), code=error.code, param="input") from error
    if not warnings:
        return {}
    said = warnings[:MAX_WARNINGS]
    if len(warnings) > MAX_WARNINGS:
        said.append(f"and {len(warnings) - MAX_WARNINGS} more")
    return warning_headers(said)


def _domain_headers(assistant: Assistant, text: str) -> dict[str, str]:
    """Return the header that says how many sentences the model was not taught to read."""
    said = " ".join(said for _, said in styled(text))
    outside, looked_at = assistant.settings.domain.outside(said)
    return {OUTSIDE_HEADER: f"{len(outside)}/{looked_at}"} if outside else {}


def _sound() -> dict[str, Any]:
    """Return what OpenAPI says about an answer of sound."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    types = dict.fromkeys(MEDIA_TYPES.values(), binary)
    outside = {
        "description": "Sentences of all that a model of a small world cannot read: 2/5.",
        "schema": {"type": "string"},
    }
    return {
        "description": "The sound.",
        "content": {**types, "text/event-stream": {}},
        "headers": {OUTSIDE_HEADER: outside},
    }


async def _sounds(
    assistant: Assistant, request: SpeechRequest, voice: str, options: TextOptions, slots: Slots
) -> AsyncGenerator[Pcm, None]:
    """Yield mono samples as they are made; half a second of silence for no words."""
    reading_style = ReadingStyle(request.speed, request.volume, request.instructions or "")
    async with slots.wait(WAIT_S):
        resampled, silent = ResampledChunks(request.sample_rate), True
        if has_words(request.input):
            said = assistant.say(request.input, voice, reading_style, options)
            async with aclosing(said) as chunks:
                async for chunk in chunks:
                    for pcm in resampled.push(chunk):
                        silent = False
                        yield pcm
        for pcm in resampled.flush():
            yield pcm
        if silent:
            yield np.zeros(int(PAUSE_S * request.sample_rate), np.float32)


async def _pieces(
    assistant: Assistant, request: SpeechRequest, voice: str, options: TextOptions, slots: Slots
) -> AsyncGenerator[bytes, None]:
    """Yield the file, each piece as soon as the encoder has it."""
    encoder = open_encoder(request.response_format, request.sample_rate)
    async with aclosing(_sounds(assistant, request, voice, options, slots)) as sounds:
        async for pcm in sounds:
            if piece := b"".join(encoder.push(pcm)):
                yield piece
    yield b"".join(encoder.flush())


async def _whole(
    assistant: Assistant, request: SpeechRequest, voice: str, options: TextOptions, slots: Slots
) -> AsyncGenerator[bytes, None]:
    """Yield the same once it is complete; a long one waits on the disk."""
    with SpooledTemporaryFile(KEPT_BYTES) as kept:
        file = cast("BinaryIO", kept)
        sound = SoundFile(file, request.response_format, request.sample_rate)
        async with aclosing(_sounds(assistant, request, voice, options, slots)) as sounds:
            async for pcm in sounds:
                sound.write(pcm)
        sound.close()
        file.seek(0)
        while piece := file.read(KEPT_BYTES // 8):
            yield piece


async def _events(
    assistant: Assistant, request: SpeechRequest, voice: str, options: TextOptions, slots: Slots
) -> AsyncGenerator[bytes, None]:
    """Yield the same as server-sent events."""
    async with aclosing(_pieces(assistant, request, voice, options, slots)) as pieces:
        async for piece in pieces:
            audio = base64.b64encode(piece).decode()
            yield sse({"type": "speech.audio.delta", "audio": audio})
    encode = assistant.services.text_tokenizer.encode
    read = len(await asyncio.to_thread(encode, request.input))  # it may be a book
    usage = {"input_tokens": read, "output_tokens": 0, "total_tokens": read}
    yield sse({"type": "speech.audio.done", "usage": usage})
