"""Sound that passes for a person's: voiced, with syllables, of any length."""

from __future__ import annotations

import numpy as np

from step_audio.core.types import Pcm


def speechlike(seconds: float, rate_hz: int = 16_000, pitch_hz: float = 140.0) -> Pcm:
    """Return a gliding, pulsing harmonic tone, (T,), with its peak at 0.5."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    phase = 2 * np.pi * (pitch_hz * t + 8 * np.sin(2 * np.pi * 0.7 * t))
    tone = sum(np.sin(k * phase) / k for k in range(1, 15))
    pcm = tone * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * t))
    out: Pcm = (0.5 * pcm / np.abs(pcm).max()).astype(np.float32)
    return out
