"""An ear that hears like a person: Whisper base in int8 on the CPU, by faster-whisper.

It hears natural speech nearly without error where pocketsphinx mishears one word of four, and is
less thrown by accents and noise. `make nano-voices` fetches it.
Source: Whisper, arXiv:2212.04356.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import soxr

from step_audio.core.errors import AudioError, StepAudioError, WeightsError
from step_audio.core.types import Pcm
from step_audio.data.voice_files import WHISPER, voice_path

RATE_HZ: Final = 16_000
_LEAD_S: Final = 0.2
_PEAK: Final = 0.7


class WhisperMissing(StepAudioError):
    """faster-whisper is not installed."""

    code = "whisper_missing"

    def __init__(self) -> None:
        super().__init__("faster-whisper is not installed; pip install 'step-audio[train]'")


def hear(pcm: Pcm, rate_hz: int, language: str = "en", model: str = "") -> str:
    """Return the text heard, with Whisper's figures and punctuation; "" for none.

    Greedy, without a fallback to sampling: equal sound gives equal text.

    Args:
        pcm: speech, (T,), any level; T may be 0. Half a minute at most is heard at once.
        rate_hz: its rate.
        language: ISO 639-1 code; "" lets Whisper tell it.
        model: folder in CTranslate2's format, or a name that faster-whisper knows; Whisper base of
            `make nano-voices` by default.

    Raises:
        AudioError: NaN or infinite samples.
        WhisperMissing, VoicesMissing: the message says how to get it.
    """
    if not np.isfinite(pcm).all():
        raise AudioError("the sound to judge holds NaN or infinite samples")
    peak = float(np.abs(pcm).max()) if len(pcm) else 0.0
    if peak < 1e-4:
        return ""
    sound = soxr.resample(pcm, rate_hz, RATE_HZ) if rate_hz != RATE_HZ else pcm
    quiet = round(_LEAD_S * RATE_HZ)
    padded = np.pad(np.asarray(sound, dtype=np.float32) * np.float32(_PEAK / peak), quiet)
    pieces, _ = _model(model).transcribe(
        padded,
        language=language or None,
        beam_size=1,
        temperature=0.0,
        condition_on_previous_text=False,
        without_timestamps=True,
    )
    return " ".join(piece.text.strip() for piece in pieces)


@cache
def _model(model: str) -> Any:
    try:
        from faster_whisper import WhisperModel  # noqa: PLC0415 - optional
    except ImportError:
        raise WhisperMissing from None
    folder = model or str(voice_path(WHISPER))
    try:
        return WhisperModel(
            folder,
            device="cpu",
            compute_type="int8",
            cpu_threads=1,
            local_files_only=not model or Path(model).is_dir(),
        )
    except Exception as error:  # of hub, file system or CTranslate2, each with errors of its own
        if not model:
            raise
        raise WeightsError(f"no Whisper model {model!r}: {str(error).splitlines()[0]}") from None
