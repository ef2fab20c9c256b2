"""Sentences by natural voices for the small sets of these tests, kept in build/eval-voices."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from step_audio.core.audio import read_audio, write_wav
from step_audio.core.types import Pcm
from step_audio.data.manifest import content_id
from step_audio.data.neural_voices import kokoro

CACHE: Final = Path("build") / "eval-voices"


def say(text: str, voice: str = "af_heart") -> tuple[Pcm, int]:
    """Return a sentence by a voice of Kokoro, made once. Raises VoicesMissing, PhonesMissing."""
    CACHE.mkdir(parents=True, exist_ok=True)
    path = CACHE / f"{content_id(text, voice)}.wav"
    if not path.is_file():
        write_wav(path, *kokoro(text, voice))
    return read_audio(path)
