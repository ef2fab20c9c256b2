"""How far a measured share or error rate may lie from the true one: 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Interval = tuple[float, float]
_Z = 1.96
_DRAWS = 1000


def share_interval(hits: int, count: int) -> Interval:
    """Return Wilson's interval of a share. Raises ValueError: nothing was counted.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    if count < 1:
        raise ValueError("nothing was counted")
    share, square = hits / count, _Z * _Z
    middle = (share + square / (2 * count)) / (1 + square / count)
    spread = share * (1 - share) / count + square / (4 * count * count)
    half = _Z * math.sqrt(spread) / (1 + square / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def rate_interval(errors: Sequence[float], sizes: Sequence[float], seed: int = 0) -> Interval:
    """Return the bootstrap interval of sum(errors) / sum(sizes), texts drawn anew as wholes.

    Words of one text go wrong together, so words are not drawn.

    Raises: ValueError: no words, or unequal numbers of texts.
    """
    wrong, words = np.asarray(errors, dtype=float), np.asarray(sizes, dtype=float)
    if wrong.shape != words.shape or not words.sum():
        raise ValueError("no words were counted")
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(wrong), size=(_DRAWS, len(wrong)))
    rates = wrong[drawn].sum(1) / np.maximum(words[drawn].sum(1), 1e-9)
    low, high = np.quantile(rates, (0.025, 0.975))
    return float(low), float(high)
