"""The seam to what reads texts aloud: one of our models, or a speech service."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from typing import Protocol

from step_audio.core.types import BATCH, AudioChunk, SamplingParams, TokenGroup, Voice
from step_audio.dialog.speakable.reader import SpokenSentence


class TextReader(Protocol):
    """Reads sentences in one voice: as token groups for the vocoder, or as sound."""

    def read(
        self,
        sentences: AsyncIterable[SpokenSentence],
        voice: Voice,
        sampling: SamplingParams,
        *,
        tags: tuple[str, ...] = (),
        priority: int = BATCH,
    ) -> AsyncGenerator[TokenGroup | AudioChunk, None]: ...
