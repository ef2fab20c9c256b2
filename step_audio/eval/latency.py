"""Percentiles of times and real-time factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Median, 95th percentile, largest value and their number, in the unit of the input."""

    p50: float
    p95: float
    worst: float
    count: int


def percentiles(values: Sequence[float]) -> Percentiles | None:
    """Return the percentiles (linear interpolation), or None when there are no values."""
    if not values:
        return None
    p50, p95, worst = np.percentile(np.asarray(values, dtype=np.float64), [50, 95, 100])
    return Percentiles(float(p50), float(p95), float(worst), len(values))
