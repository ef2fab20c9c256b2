"""DNSMOS: how good speech sounds, as a network trained on human ratings says (1 to 5).

Source: DNSMOS P.835, arXiv:2110.01763; the `speechmos` wheel carries the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import soxr

from step_audio.core.types import Pcm

RATE_HZ = 16_000
_WINDOW_SAMPLES = 144_160  # 9.01 s, the length the model was trained on
_PEAK = 0.7


def dnsmos(sounds: Sequence[tuple[Pcm, int]]) -> float | None:
    """Return the mean overall score of the sounds, each with its rate; None without sounds or
    without the optional package `speechmos`. About half a CPU second a sound."""
    try:
        from speechmos import dnsmos as model  # noqa: PLC0415 - optional
    except ImportError:
        return None
    scores = []
    for pcm, rate_hz in sounds:
        peak = float(np.abs(pcm).max()) if len(pcm) else 0.0
        if peak < 1e-4:
            continue
        sound = soxr.resample(pcm / peak * _PEAK, rate_hz, RATE_HZ)
        # Short sounds are repeated: the model rates windows of a fixed length.
        sound = np.resize(sound, max(len(sound), _WINDOW_SAMPLES))[:_WINDOW_SAMPLES]
        scores.append(float(model.run(np.clip(sound, -1.0, 1.0), RATE_HZ)["ovrl_mos"]))
    return float(np.mean(scores)) if scores else None
