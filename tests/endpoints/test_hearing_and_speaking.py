"""The clients of `/v1/audio/transcriptions` and `/v1/audio/speech`, against our own server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import numpy as np
import pytest

from step_audio.core.errors import EngineLost, EngineRefused
from step_audio.core.ports import RecognitionHints
from step_audio.core.types import AudioChunk, Transcript
from step_audio.endpoints.connection import Endpoint, EndpointBusy
from step_audio.endpoints.speech import SpeechEndpoint
from step_audio.endpoints.transcription import TranscriptionEndpoint

SOUND = np.full(8000, 0.1, np.float32)
Answer = Callable[[str, bytes], tuple[int, str, bytes]]
"""From path and body to status, content type and body."""


@asynccontextmanager
async def served(answer: Answer) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        path = head.split(" ")[1]
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
        status, kind, body = answer(path, await reader.readexactly(length))
        lines = [f"HTTP/1.1 {status} x", f"content-type: {kind}", f"content-length: {len(body)}"]
        writer.write("\r\n".join([*lines, "connection: close", "", ""]).encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


def json_answer(told: Any, status: int = 200) -> tuple[int, str, bytes]:
    return status, "application/json", json.dumps(told).encode()


async def hear(answer: Answer, *hints: RecognitionHints) -> list[Transcript]:
    async with served(answer) as url:
        ear = TranscriptionEndpoint(Endpoint(url), "whisper-1")
        try:
            return [await ear.recognize(SOUND, 16000, h) for h in hints or [RecognitionHints()]]
        finally:
            await ear.aclose()


async def test_words_and_language_are_read() -> None:
    told = {"text": " What time is it? ", "language": "english", "duration": 0.5}
    asked: list[bytes] = []

    def answer(path: str, body: bytes) -> tuple[int, str, bytes]:
        assert path == "/v1/audio/transcriptions"
        asked.append(body)
        return json_answer(told)

    (heard,) = await hear(answer, RecognitionHints("en", "names: Bob"))
    assert heard == Transcript("What time is it?", "en")
    (body,) = asked
    assert b"RIFF" in body
    for field in (b"whisper-1", b"verbose_json", b"names: Bob"):
        assert field in body


async def test_a_server_that_knows_only_json_is_asked_for_that() -> None:
    asked: list[bool] = []

    def answer(_: str, body: bytes) -> tuple[int, str, bytes]:
        asked.append(b"verbose_json" in body)
        if asked[-1]:
            return json_answer({"error": {"message": "verbose_json is not supported"}}, 400)
        return json_answer({"text": "hello"})

    assert await hear(answer, RecognitionHints(), RecognitionHints()) == [Transcript("hello")] * 2
    assert asked == [True, False, False]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (json_answer({"error": {"message": "no such model"}}, 404), EngineRefused),
        (json_answer({"error": {"message": "busy"}}, 503), EndpointBusy),
        (json_answer({"words": "hello"}), EngineLost),
        ((200, "text/html", b"<html>"), EngineLost),
    ],
)
async def test_what_is_no_transcript_is_an_error(
    answer: tuple[int, str, bytes], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await hear(lambda path, body: answer)


async def speak(answer: Answer) -> list[AudioChunk]:
    async with served(answer) as url:
        voice = SpeechEndpoint(Endpoint(url), "kokoro", sample_rate_hz=8000)
        try:
            async with aclosing(voice.read("It is noon.", "af_heart")) as chunks:
                return [chunk async for chunk in chunks]
        finally:
            await voice.aclose()


async def test_sound_comes_in_small_pieces_and_whole() -> None:
    samples = (np.arange(2001) % 200 * 100).astype("<i2")

    def answer(path: str, body: bytes) -> tuple[int, str, bytes]:
        assert path == "/v1/audio/speech"
        asked = json.loads(body)
        assert (asked["input"], asked["voice"]) == ("It is noon.", "af_heart")
        assert (asked["model"], asked["response_format"]) == ("kokoro", "pcm")
        return 200, "audio/pcm", samples.tobytes()

    chunks = await speak(answer)
    assert {chunk.rate_hz for chunk in chunks} == {8000}
    assert max(len(chunk.pcm) for chunk in chunks) == 800
    pcm = np.concatenate([chunk.pcm for chunk in chunks])
    assert np.allclose(pcm * 32768, samples, atol=1)


async def test_a_service_that_sends_no_pcm_is_refused_instead_of_played() -> None:
    with pytest.raises(EngineLost, match="audio/mpeg"):
        await speak(lambda path, body: (200, "audio/mpeg", b"ID3"))
    with pytest.raises(EngineRefused, match="no voice"):
        await speak(lambda path, body: json_answer({"error": {"message": "no voice"}}, 400))
