"""Nearest-centroid lookup: encoder frames in, codes out.

Pure NumPy, no state. `core.vocab` alone turns codes into token ids.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from step_audio.core.errors import ShapeError


class Codebook:
    """A table of centroids. Immutable.

    Args:
        centroids: (K, D).
    """

    def __init__(self, centroids: NDArray[np.float32]) -> None:
        if centroids.ndim != 2 or not centroids.size:
            raise ShapeError(f"centroids are {centroids.shape}, expected (K, D)")
        self.centroids = centroids
        self._squares = (centroids.astype(np.float64) ** 2).sum(axis=1)

    def __deepcopy__(self, memo: dict[int, object]) -> Codebook:
        """Return itself: a copied stream shares its model."""
        return self

    @property
    def width(self) -> int:
        """D."""
        return int(self.centroids.shape[1])

    def quantize(self, frames: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the index of the centroid nearest to each frame (L2).

        Args:
            frames: linguistic encoder output, (T, D), 16.7 Hz; T may be 0.

        Returns:
            Codes, (T,), each in [0, K). Ties go to the lower index.

        Raises:
            ShapeError: the two D differ.

        Source: Step-Audio report, arXiv:2502.11946.
        """
        if frames.ndim != 2 or frames.shape[1] != self.width:
            raise ShapeError(f"frames are {frames.shape}, expected (T, {self.width})")
        # |f-c|^2 without |f|^2, which does not move the argmin.
        scores = self._squares - 2 * (frames @ self.centroids.T)  # (T, K)
        codes: NDArray[np.int64] = scores.argmin(axis=1)
        return codes
