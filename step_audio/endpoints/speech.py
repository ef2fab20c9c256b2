"""A voice behind `/v1/audio/speech`: text in, sound out as it is made."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

import numpy as np

from step_audio.core.audio import pcm16_to_float
from step_audio.core.types import AudioChunk
from step_audio.endpoints.connection import Endpoint

_CHUNK_MS: Final = 100
"""Small pieces: what was heard of an answer is known to one of them."""


class SpeechEndpoint:
    """A model of an OpenAI-compatible server: implements `core.ports.SpeechModel`.

    Args:
        endpoint: the server.
        model: the name it serves it under.
        sample_rate_hz: of the PCM it sends; OpenAI's own is 24 kHz.
    """

    def __init__(self, endpoint: Endpoint, model: str, *, sample_rate_hz: int = 24_000) -> None:
        self._endpoint, self._model = endpoint, model
        self.sample_rate_hz = sample_rate_hz

    async def read(self, text: str, voice: str) -> AsyncGenerator[AudioChunk, None]:
        """Yield the sound of a text; closing the iterator closes the connection.

        Raises:
            EngineError: the server is not there, refuses, or breaks off.
        """
        body = {"model": self._model, "input": text, "voice": voice, "response_format": "pcm"}
        size, held = self.sample_rate_hz * _CHUNK_MS // 1000 * 2, b""
        async with self._endpoint.post("/audio/speech", body=body) as reply:
            kind = reply.headers.get("content-type", "").partition(";")[0]
            if kind.endswith(("json", "html")) or kind in ("audio/mpeg", "audio/mp3", "audio/wav"):
                raise self._endpoint.lost(f"it answers with {kind}, not with PCM")
            async for data in reply.aiter_bytes():
                held += data
                while len(held) >= size:
                    yield self._chunk(held[:size])
                    held = held[size:]
        if len(held) > 1:
            yield self._chunk(held[: len(held) // 2 * 2])

    async def ready(self) -> bool:
        """Return whether the server is there and takes the key."""
        return await self._endpoint.answers()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._endpoint.aclose()

    def _chunk(self, pcm16: bytes) -> AudioChunk:
        samples = pcm16_to_float(pcm16)
        return AudioChunk(samples.astype(np.float32, copy=False), self.sample_rate_hz)
