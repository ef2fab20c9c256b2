"""Can the cuts of streamed speech be heard? Jumps of the samples where chunks meet.

A click is a sample that its neighbours do not lead to: a large second difference beside small ones.
The same places of speech made in one piece say what is usual there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from step_audio.core.types import Pcm

_AROUND = 2
_NEAR_MS = 30
_FLOOR = 1e-4  # below it nothing is heard, whatever the ratio


@dataclass(frozen=True, slots=True)
class Jumps:
    """Second differences at borders over the RMS of those around: median, 95 %, largest."""

    p50: float
    p95: float
    largest: float


def borders(pieces: Sequence[Pcm]) -> NDArray[np.int64]:
    """Return where pieces meet, in samples from the first."""
    return np.cumsum([len(piece) for piece in pieces], dtype=np.int64)[:-1]


def jump_ratios(pcm: Pcm, at: NDArray[np.int64], rate_hz: int) -> NDArray[np.float64]:
    """Return for each place the largest second difference within two samples, as a ratio."""
    bends = np.abs(np.diff(pcm.astype(np.float64), n=2))
    near = rate_hz * _NEAR_MS // 1000
    ratios = []
    for place in at.tolist():
        # Sample n bends in entry n - 1.
        here = bends[max(0, place - 1 - _AROUND) : place + _AROUND]
        around = bends[max(0, place - near) : place + near]
        if len(here):
            ratios.append(here.max() / max(float(np.sqrt((around**2).mean())), _FLOOR))
    return np.array(ratios)


def summary(ratios: NDArray[np.float64]) -> Jumps:
    """Return the statistics of some ratios; of none, zeros."""
    if not len(ratios):
        return Jumps(0.0, 0.0, 0.0)
    p50, p95 = np.percentile(ratios, [50, 95])
    return Jumps(float(p50), float(p95), float(ratios.max()))
