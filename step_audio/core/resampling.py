"""Sound from one sample rate to another, while it comes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from step_audio.core.errors import AudioError
from step_audio.core.types import RATES_HZ, Pcm

_LOWPASS_WIDTH: Final = 6
_INPUT_WIDTH: Final = 32
"""Of what a tokenizer hears: with 6 the top of the band fades, and of speech that went from 16 to
24 kHz and back a tenth of the linguistic codes change."""
_COMMON_HZ: Final = 50
"""Divisor shared with the usual rates; others (44 101 Hz) would need megabytes of taps."""
_ROLLOFF: Final = 0.99
_BLOCK: Final = 64
"""Outputs that one matrix product makes, about."""
_MOST_TAPS: Final = 1 << 17
"""Numbers in a matrix; odd rates (44 101 Hz) would need a thousand times as many."""


class StreamResampler:
    """Stage[Pcm, Pcm] from one rate to another; the result does not depend on the cuts.

    A windowed sinc (Hann, 6 zero crossings, roll-off 0.99), equal to the default of
    torchaudio.transforms.Resample, which the published tokenizers were used with.

    Args:
        from_hz, to_hz: the rates.
        crossings: zero crossings on each side; more keep what is just below the lower half rate
            and take longer: 32 cost a delay of 2 ms at 24 kHz to 16 kHz.

    Raises:
        AudioError: a rate that no sound card has.
    """

    def __init__(self, from_hz: int, to_hz: int, *, crossings: int = _LOWPASS_WIDTH) -> None:
        for rate_hz in (from_hz, to_hz):
            if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
                raise AudioError(
                    f"sample rate {rate_hz} Hz is outside {RATES_HZ[0]}..{RATES_HZ[1]}"
                )
        common = math.gcd(from_hz, to_hz)
        self._step, self._phases = from_hz // common, to_hz // common
        self._bank = _bank(self._step, self._phases, crossings)
        # `_kept` starts at sample `_start` of the input; the sound is preceded by silence.
        self._kept: Pcm = np.zeros(self._bank.width, dtype=np.float32)
        self._start = -self._bank.width
        self._received = 0
        self._sent = 0

    def push(self, pcm: Pcm, /) -> Iterable[Pcm]:
        """Take samples at `from_hz` and return what is ready at `to_hz`."""
        if self._step == self._phases:
            return (pcm,) if len(pcm) else ()
        self._kept = np.concatenate((self._kept, pcm), dtype=np.float32)
        self._received += len(pcm)
        # The last output whose taps all lie before `_received`.
        return self._outputs(
            -(-(self._received - self._bank.width - 1) * self._phases // self._step)
        )

    def flush(self) -> Iterable[Pcm]:
        """Return the rest: in all ceil(samples * to_hz / from_hz)."""
        if self._step == self._phases:
            return ()
        return self._outputs(-(-self._received * self._phases // self._step))

    def _outputs(self, until: int) -> Iterable[Pcm]:
        """Compute outputs `_sent`..`until` and forget the input no later output needs."""
        if until <= self._sent:
            return ()
        bank = self._bank
        compute = self._gathered if bank.matrix is None else self._multiplied
        out = compute(self._sent, until)
        self._sent = until
        # Of a block that has begun, all is computed again.
        block = until // bank.block * bank.block
        forget = block * self._step // self._phases - bank.width - self._start
        self._kept = self._kept[forget:].copy()
        self._start += forget
        return (out,)

    def _multiplied(self, since: int, until: int) -> Pcm:
        """Compute whole blocks, `rows` periods each, as products of one shape.

        A sum's rounding depends on the shape of its product, so blocks begin at fixed outputs: the
        same numbers come whatever arrives when. What is not there yet meets taps of 0.
        """
        bank = self._bank
        assert bank.matrix is not None
        first, last = since // bank.block, -(-until // bank.block)
        rows, width = (last - first) * bank.rows, len(bank.matrix)
        begin = first * bank.rows * self._step - bank.width - self._start
        sound = self._kept[begin:]
        missing = (rows - 1) * self._step + width - len(sound)
        if missing > 0:
            sound = np.concatenate((sound, np.zeros(missing, dtype=np.float32)))
        windows = np.lib.stride_tricks.as_strided(
            sound, (rows, width), (self._step * sound.itemsize, sound.itemsize), writeable=False
        )
        out: Pcm = (windows.reshape(last - first, bank.rows, width) @ bank.matrix).reshape(-1)
        return out[since - first * bank.block : until - first * bank.block]

    def _gathered(self, since: int, until: int) -> Pcm:
        """Compute each output by its own taps."""
        taps = self._bank.taps
        at = np.arange(since, until, dtype=np.int64)
        first = at * self._step // self._phases - self._bank.width - self._start
        missing = int(first[-1]) + taps.shape[1] - len(self._kept)
        kept = np.pad(self._kept, (0, max(0, missing)))
        windows = np.lib.stride_tricks.sliding_window_view(kept, taps.shape[1])
        out: Pcm = np.einsum("nt,nt->n", windows[first], taps[at % self._phases])
        return out


@dataclass(frozen=True, slots=True)
class _Bank:
    """The filters of one pair of rates.

    Attributes:
        taps: (phases, T); phase p starts `width` before its centre.
        matrix: (samples, phases), the taps where they meet the input of one period; None: too big.
        rows: periods in a block.
        block: outputs in a block.
    """

    taps: NDArray[np.float32]
    width: int
    matrix: NDArray[np.float32] | None
    rows: int
    block: int


@lru_cache(maxsize=8)  # each answer and each question opens a resampler of the same few rates
def _bank(step: int, phases: int, crossings: int) -> _Bank:
    cutoff = min(step, phases) * _ROLLOFF
    width = math.ceil(crossings * step / cutoff)
    phase = np.arange(phases, dtype=np.int64)[:, None]
    sample = phase * step // phases - width + np.arange(2 * width + 2)
    t = np.clip((sample / step - phase / phases) * cutoff, -crossings, crossings)
    window = np.cos(t * np.pi / crossings / 2) ** 2
    taps = (np.sinc(t) * window * cutoff / step).astype(np.float32)
    taps.flags.writeable = False  # shared
    samples = (phases - 1) * step // phases + taps.shape[1]
    if samples * phases > _MOST_TAPS:
        return _Bank(taps, width, None, 1, 1)
    matrix = np.zeros((samples, phases), dtype=np.float32)
    for p in range(phases):
        at = p * step // phases
        matrix[at : at + taps.shape[1], p] = taps[p]
    matrix.flags.writeable = False
    rows = -(-_BLOCK // phases)
    return _Bank(taps, width, matrix, rows, rows * phases)


def resample(pcm: Pcm, from_hz: int, to_hz: int) -> Pcm:
    """Return the whole of `pcm` at another rate."""
    return _whole(StreamResampler(from_hz, to_hz), pcm)


def input_resampler(from_hz: int, to_hz: int) -> StreamResampler:
    """Return the resampler in front of every audio tokenizer, in serving and in training.

    A tokenizer that is trained on what one filter leaves mishears what another one does. Rates that
    share no divisor with the usual ones get the plain filter.

    Raises:
        AudioError: a rate that no sound card has.
    """
    common = math.gcd(from_hz, to_hz) >= _COMMON_HZ
    return StreamResampler(from_hz, to_hz, crossings=_INPUT_WIDTH if common else _LOWPASS_WIDTH)


def resample_input(pcm: Pcm, from_hz: int, to_hz: int) -> Pcm:
    """Return the whole of `pcm` as an audio tokenizer at `to_hz` hears it."""
    return _whole(input_resampler(from_hz, to_hz), pcm)


def _whole(stage: StreamResampler, pcm: Pcm) -> Pcm:
    out = [*stage.push(pcm), *stage.flush()]
    return np.concatenate(out) if out else pcm[:0]
