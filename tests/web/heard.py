"""What the page played, as the tap at the end of its audio graph recorded it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from step_audio.core.types import Pcm

_LOUD = 0.003


@dataclass(frozen=True, slots=True)
class Heard:
    """Sound as it left the page. `at_s`: time of its first sample, by the clock of the graph."""

    pcm: Pcm
    rate_hz: int
    at_s: float

    def loud_s(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the times of all samples that are not silence, (N,), ascending."""
        return self.at_s + np.flatnonzero(np.abs(self.pcm) > _LOUD) / self.rate_hz

    def gaps_ms(self, longest_ms: float) -> list[float]:
        """Return the pauses within the sound that last longer than `longest_ms`."""
        pauses = np.diff(self.loud_s()) * 1000
        return [round(float(pause), 1) for pause in pauses if pause > longest_ms]

    def spoken(self) -> Pcm:
        """Return the sound without what comes of an empty buffer: exact zeros for 5 ms or more.

        Where a busy machine speaks slower than real time, words would else fall apart.
        """
        block = self.rate_hz // 200
        blocks = self.pcm[: len(self.pcm) // block * block].reshape(-1, block)
        spoken: Pcm = blocks[blocks.any(axis=1)].ravel()
        return spoken


def heard(folder: Path, name: str, found: dict[str, Any]) -> Heard:
    """Return the recording that a step of drive.mjs left."""
    pcm = np.fromfile(folder / f"{name}.f32", dtype=np.float32)
    return Heard(pcm, found["rate"], found["at"])
