"""Channels to one: what is in any of them is heard, at the level of the loudest."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from step_audio.core.types import Pcm

_BLOCK_S: Final = 10.0
_BLOCK_SAMPLES: Final = 1 << 23
"""Of all channels together: 32 MiB."""
_FADE_S: Final = 0.02
_OPPOSED: Final = -0.3
"""Correlation below which two channels are out of phase; independent ones lie around 0."""


class Downmix:
    """Mixes the channels of one recording, block by block. Synchronous.

    A mean loses what is out of phase between channels and makes what is in one of six a sixth as
    loud. Here channels are turned to the phase of the loudest and added, at its level. Phase and
    level are those of ten seconds at a time, measured on differences of samples, which hum and
    offsets hardly touch.

    Args:
        channels: how many.
        rate_hz: of the samples.
    """

    def __init__(self, channels: int, rate_hz: int) -> None:
        self._channels = channels
        self._most = max(1, min(int(_BLOCK_S * rate_hz), _BLOCK_SAMPLES // channels))
        self._fade = int(_FADE_S * rate_hz)
        self._kept: list[Pcm] = []
        self._samples = 0
        self._weights: NDArray[np.float32] | None = None

    def push(self, samples: Pcm) -> list[Pcm]:
        """Take samples, (T, C), and return what is mixed, (T,) each."""
        if self._channels == 1:
            return [samples[:, 0]]
        self._kept.append(samples)
        self._samples += len(samples)
        return self.flush() if self._samples >= self._most else []

    def flush(self) -> list[Pcm]:
        """Return the rest."""
        if not self._kept:
            return []
        block = np.concatenate(self._kept)
        self._kept, self._samples = [], 0
        weights = mixing_weights(block, self._weights)
        mixed: Pcm = block @ weights
        fade = min(self._fade, len(block))
        if self._weights is not None and fade:
            old = block[:fade] @ self._weights
            share = np.linspace(0.0, 1.0, fade, dtype=np.float32)
            mixed[:fade] = old + share * (mixed[:fade] - old)
        self._weights = weights
        return [mixed]


def mixing_weights(
    block: NDArray[np.float32], before: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return what each channel of a block, (T, C), is multiplied with, (C,).

    Args:
        block: finite samples.
        before: weights of the block before; the whole keeps its phase.
    """
    channels = block.shape[1]
    even = np.full(channels, 1 / channels, dtype=np.float32)
    changes = np.diff(block, axis=0)
    together = (changes.T @ changes).astype(np.float64)  # (C, C)
    power = together.diagonal()
    loudest = int(power.argmax())
    if power[loudest] <= 0:
        return even if before is None else before
    signs = _in_phase(together, loudest)
    mixed_power = float(signs @ together @ signs)
    if mixed_power < power[loudest] / 4:  # they cancel out all the same
        signs = np.zeros(channels)
        signs[loudest], mixed_power = 1.0, float(power[loudest])
    weights = signs * np.sqrt(power[loudest] / mixed_power)
    if before is not None and float(weights @ together @ before) < 0:
        weights = -weights
    peak, given = float(np.abs(block @ weights).max()), float(np.abs(block).max())
    most = max(1.0, given)  # a sum that would be clipped is made softer
    weights = weights * (most / peak if peak > most else 1.0)
    out: NDArray[np.float32] = weights.astype(np.float32)
    return out


def _in_phase(together: NDArray[np.float64], loudest: int) -> NDArray[np.float64]:
    """Return 1 or -1 for each channel, from the loudest to the softest.

    Each is compared with the sum of those before it: two that are opposed to a third are not
    opposed to each other.
    """
    power = together.diagonal()
    signs = np.zeros(len(power))
    signs[loudest] = 1.0
    for channel in np.argsort(-power, kind="stable"):
        if channel == loudest:
            continue
        common = float(together[channel] @ signs)
        size = float(np.sqrt(power[channel] * max(0.0, float(signs @ together @ signs))))
        signs[channel] = -1.0 if size and common / size < _OPPOSED else 1.0
    return signs
