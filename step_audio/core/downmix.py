"""Channels to one: what is in any of them is heard, at the level of the loudest."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from step_audio.core.types import Pcm

_BLOCK_S: Final = 0.5
_REMEMBERED: Final = 0.8
"""Share of the past that each block leaves for the next."""
_PAST: Final = 0.08
"""What the past counts beside a block: less than as much sound, more than a pause."""
_FADE_S: Final = 0.02
_OPPOSED: Final = -0.3
"""Correlation below which two channels are out of phase; independent ones lie around 0."""


class Downmix:
    """Mixes the channels of one recording, block by block. Synchronous.

    A mean loses what is out of phase between channels and makes what is in one of six a sixth as
    loud. Here channels are turned to the phase of the loudest and added, at its level. Phase and
    level are those of half a second at a time, and of what was before where that is silent. They
    are measured on differences of samples, which hum and offsets hardly touch.

    Args:
        channels: how many.
        rate_hz: of the samples.
    """

    def __init__(self, channels: int, rate_hz: int) -> None:
        self._channels = channels
        self._most = int(_BLOCK_S * rate_hz)
        self._fade = int(_FADE_S * rate_hz)
        self._kept: list[Pcm] = []
        self._samples = 0
        self._weights: NDArray[np.float32] | None = None
        self._past = np.zeros((channels, channels))

    def push(self, samples: Pcm) -> list[Pcm]:
        """Take samples, (T, C), and return what is mixed, (T,) each."""
        if self._channels == 1:
            return [samples[:, 0]]
        self._kept.append(samples)
        self._samples += len(samples)
        if self._samples < self._most:
            return []
        whole = np.concatenate(self._kept)
        blocks = [whole[at : at + self._most] for at in range(0, len(whole), self._most)]
        rest = blocks.pop() if len(blocks[-1]) < self._most else whole[:0]
        self._kept, self._samples = [rest], len(rest)
        return [self._mixed(block) for block in blocks]

    def flush(self) -> list[Pcm]:
        """Return the rest."""
        if not self._samples:
            return []
        block = np.concatenate(self._kept)
        self._kept, self._samples = [], 0
        return [self._mixed(block)]

    def _mixed(self, block: NDArray[np.float32]) -> Pcm:
        changes = np.diff(block, axis=0)
        together = (changes.T @ changes).astype(np.float64)  # (C, C)
        weights = mixing_weights(together + _PAST * self._past, self._weights)
        self._past = _REMEMBERED * self._past + together
        peak, given = float(np.abs(block @ weights).max()), float(np.abs(block).max())
        most = max(1.0, given)  # a sum that would be clipped is made softer
        weights *= np.float32(most / peak if peak > most else 1.0)
        mixed: Pcm = block @ weights
        fade = min(self._fade, len(block))
        if self._weights is not None and fade:
            old = block[:fade] @ self._weights
            share = np.linspace(0.0, 1.0, fade, dtype=np.float32)
            mixed[:fade] = old + share * (mixed[:fade] - old)
        self._weights = weights
        return mixed


def mixing_weights(
    together: NDArray[np.float64], before: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return what each channel is multiplied with, (C,).

    Args:
        together: power of each channel and each two of them, (C, C).
        before: weights of the block before; the whole keeps its phase.
    """
    channels = len(together)
    power = together.diagonal()
    loudest = int(power.argmax())
    if power[loudest] <= 0:
        return np.full(channels, 1 / channels, dtype=np.float32) if before is None else before
    signs = _in_phase(together, loudest)
    mixed_power = float(signs @ together @ signs)
    if mixed_power < power[loudest] / 4:  # they cancel out all the same
        signs = np.zeros(channels)
        signs[loudest], mixed_power = 1.0, float(power[loudest])
    weights = signs * np.sqrt(power[loudest] / mixed_power)
    if before is not None and float(weights @ together @ before) < 0:
        weights = -weights
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
