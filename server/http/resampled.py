"""The chunks of one answer at the rate that a client gets."""

from __future__ import annotations

from typing import Final

from step_audio.core.resampling import StreamResampler
from step_audio.core.types import AudioChunk, Pcm

RATE_HZ: Final = 24_000
"""Of all sound over REST, where a client does not say."""


class ResampledChunks:
    """One answer at `rate_hz`; what the vocoder's rate is, its first chunk tells."""

    def __init__(self, rate_hz: int = RATE_HZ) -> None:
        self._rate_hz = rate_hz
        self._resampler: StreamResampler | None = None

    def push(self, chunk: AudioChunk) -> list[Pcm]:
        """Return what is ready."""
        self._resampler = self._resampler or StreamResampler(chunk.rate_hz, self._rate_hz)
        return list(self._resampler.push(chunk.pcm))

    def flush(self) -> list[Pcm]:
        """Return the rest."""
        return list(self._resampler.flush()) if self._resampler else []
