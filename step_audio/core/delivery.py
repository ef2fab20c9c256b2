"""How speech is delivered, as signal processing: faster or slower at the same pitch, louder or not.

For models that were not taught to do it by tokens. `open_delivery` gives a `Stage[Pcm, Pcm]`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import numpy as np

from step_audio.core.errors import InputError
from step_audio.core.ports import Stage
from step_audio.core.types import Pcm

SPEEDS: Final = (0.25, 4.0)
VOLUMES: Final = (0.0, 4.0)

_WINDOW_MS: Final = 40  # holds two periods and more of a low voice
_SEARCH_MS: Final = 12  # one period of a low voice
_QUIET: Final = 1e-6
_KNEE: Final = 0.8


def bent(pcm: Pcm) -> Pcm:
    """Return samples (T,) whose levels beyond a knee at 0.8 are bent towards 1, not cut."""
    level = np.abs(pcm)
    if not len(pcm) or float(level.max()) <= _KNEE:
        return pcm
    high = _KNEE + (1 - _KNEE) * np.tanh((level - _KNEE) / (1 - _KNEE))
    out: Pcm = np.where(level > _KNEE, np.copysign(high, pcm), pcm).astype(np.float32)
    return out


def open_delivery(rate_hz: int, *, speed: float = 1.0, volume: float = 1.0) -> Stage[Pcm, Pcm]:
    """Return a fresh stage for one stream of speech.

    Args:
        rate_hz: of the samples that go in and come out.
        speed: 2.0 takes half the time. At 1.0 nothing is held back and nothing is changed.
        volume: factor on the samples; what would leave [-1, 1] is bent, not cut.

    Raises:
        InputError: speed or volume is outside `SPEEDS`, `VOLUMES`, or not a number.
    """
    for name, value, (low, high) in (("speed", speed, SPEEDS), ("volume", volume, VOLUMES)):
        if not low <= value <= high:
            raise InputError(f"{name} {value:g} is outside {low:g}..{high:g}")
    stretch = _AsItIs() if speed == 1.0 else Tempo(rate_hz, speed)
    return stretch if volume == 1.0 else _Louder(stretch, volume)


class Tempo:
    """Stage[Pcm, Pcm]: the same speech in other time; the result does not depend on the cuts.

    Waveform-similarity overlap-add: windows are taken from the input about `speed` times as far
    apart as they are laid down, each where it continues the last one best, so periods of the
    voice stay whole. In all `round(samples / speed)` samples come out, about 50 ms behind.

    Args:
        rate_hz: of input and output.
        speed: within `SPEEDS`.

    Source: Verhelst and Roelands, WSOLA, ICASSP 1993.
    """

    def __init__(self, rate_hz: int, speed: float) -> None:
        self._speed = speed
        self._half = max(1, rate_hz * _WINDOW_MS // 2000)
        self._reach = max(1, rate_hz * _SEARCH_MS // 1000)
        self._fade = np.hanning(2 * self._half + 1)[: self._half].astype(np.float32)
        # `_input` starts at sample `_start` of the sound, which silence precedes.
        self._start = -self._reach
        self._input: Pcm = np.zeros(self._reach, dtype=np.float32)
        self._tail: Pcm | None = None  # second half of the last window, not yet faded
        self._windows = self._received = self._sent = 0
        self._flushed = False

    def push(self, pcm: Pcm, /) -> Iterable[Pcm]:
        """Take samples, return what is ready."""
        self._received += len(pcm)
        self._input = np.concatenate((self._input, pcm), dtype=np.float32)
        # Whole windows: where the sound ends, and so where the last one is cut, shows at flush.
        total = self._total()
        return self._ready(total - total % self._half)

    def flush(self) -> Iterable[Pcm]:
        """Return the rest: in all round(samples / speed)."""
        if self._flushed:
            return ()
        self._flushed = True
        total = self._total()
        needed = math.ceil(self._half * self._speed) + 4 * self._half + 2 * self._reach
        self._input = np.pad(self._input, (0, needed))
        return self._ready(total)

    def _total(self) -> int:
        return round(self._received / self._speed)

    def _ready(self, total: int) -> Iterable[Pcm]:
        """Lay down every window whose input is there; send no more than `total` in all."""
        out: list[Pcm] = []
        while self._sent < total:
            at = round(self._windows * self._half * self._speed) - self._start
            if at + self._reach + 2 * self._half > len(self._input):
                break
            begin = at if self._tail is None else self._best(at, self._tail)
            window = self._input[begin : begin + self._half]
            if self._tail is not None:
                window = self._tail + self._fade * (window - self._tail)
            self._tail = self._input[begin + self._half : begin + 2 * self._half].copy()
            self._windows += 1
            out.append(window[: total - self._sent].copy())
            self._sent += len(out[-1])
            self._forget(at - self._reach)
        return out

    def _best(self, at: int, wanted: Pcm) -> int:
        """Return where, within reach of `at`, the input is most like `wanted`."""
        searched = self._input[at - self._reach : at + self._reach + self._half]
        alike = np.correlate(searched, wanted, "valid")
        power = np.cumsum(np.pad(searched.astype(np.float64) ** 2, (1, 0)))
        power = power[self._half :] - power[: -self._half]
        score = alike / np.sqrt(power + _QUIET)
        best = int(np.argmax(score))
        return at - self._reach + best if score[best] > 0 else at

    def _forget(self, before: int) -> None:
        """Drop the input that no later window can start in."""
        if before > 0:
            self._input = self._input[before:]
            self._start += before


class _AsItIs:
    """Passes samples on."""

    def push(self, pcm: Pcm, /) -> Iterable[Pcm]:
        return (pcm,) if len(pcm) else ()

    def flush(self) -> Iterable[Pcm]:
        return ()


class _Louder:
    """A stage whose output is multiplied; beyond the knee levels are bent towards 1."""

    def __init__(self, inner: Stage[Pcm, Pcm], volume: float) -> None:
        self._inner, self._volume = inner, np.float32(volume)

    def push(self, pcm: Pcm, /) -> Iterable[Pcm]:
        return [self._louder(piece) for piece in self._inner.push(pcm)]

    def flush(self) -> Iterable[Pcm]:
        return [self._louder(piece) for piece in self._inner.flush()]

    def _louder(self, pcm: Pcm) -> Pcm:
        out: Pcm = pcm * self._volume
        return bent(out) if self._volume > 1 else out
