"""Where a speech service reads aloud: its voices by name, and no model of ours."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import numpy as np

from step_audio.core.errors import EngineError, VoiceNotFound
from step_audio.core.types import SPEAKER_SIZE, GenerationRequest, Voice


class ServiceVoices:
    """A `VoiceStore` of names that a service knows."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)

    def get(self, name: str) -> Voice:
        """Return a voice, of which only the name matters. Raises VoiceNotFound."""
        if name not in self._names:
            raise VoiceNotFound(name, self._names)
        return Voice(name, np.zeros(SPEAKER_SIZE, np.float32))

    def names(self) -> tuple[str, ...]:
        """Return all names."""
        return self._names


class NoEngine:
    """An `Engine` that is never asked: a chat model answers and a service speaks."""

    def generate(self, request: GenerationRequest) -> AsyncGenerator[int, None]:
        """Raise EngineError."""
        raise EngineError("this profile has no model of its own")

    async def prefill(self, prompt: tuple[int, ...], session: str) -> None:
        """Nothing is to be read."""

    async def ready(self) -> bool:
        """Always."""
        return True

    async def aclose(self) -> None:
        """Nothing is held."""
