"""How alike two speakers sound: the cosine of their vectors, as recognisers compare them.

The vectors are CAM++'s (`step_audio.voices.speaker_encoder`) where the weights have it, else those
of a packaged encoder (`packaged_encoder`). The figure orders voices measured by the same encoder;
it does not compare with another's, nor with figures of WavLM or ERes2Net that papers give.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from step_audio.core.errors import ShapeError


def similarity(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the cosine between two speaker vectors, (N,) each, in [-1, 1].

    Raises:
        ShapeError: of different sizes, or one without a direction.
    """
    if first.shape != second.shape or first.ndim != 1:
        raise ShapeError(f"speaker vectors {first.shape} and {second.shape} do not compare")
    norms = float(np.linalg.norm(first)) * float(np.linalg.norm(second))
    if not np.isfinite(norms) or norms == 0.0:
        raise ShapeError("a speaker vector without a direction: was there any sound?")
    return float(np.dot(first.astype(np.float64), second.astype(np.float64))) / norms
