"""What the two encoders hear: stacked filter-bank frames (linguistic), log-mel (semantic).

Linguistic: Kaldi fbank at 100 Hz, 7 frames stacked every 6 (60 ms, width 560), then CMVN.
Semantic: the log-mel of Whisper with 128 bands at 100 Hz.
Source: Paraformer online front end (FunASR); Whisper, arXiv:2212.04356.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from step_audio.core.audio import Rechunker
from step_audio.core.errors import ShapeError
from step_audio.core.types import Pcm
from tokenizer.fbank import FRAME_SAMPLES, HOP_SAMPLES, MELS, RATE_HZ, Fbank, frame_count
from tokenizer.preprocess import BLOCK_SAMPLES

STACK: Final = 7
STRIDE: Final = 6
FEATURE_SIZE: Final = STACK * MELS
LOG_MEL_BANDS: Final = 128
SILENT: Final = -1.5
"""The least that a log-mel holds: energies of 1e-10."""

_FRONT_COPIES = STACK // 2
_WHISPER_FFT = 400


@dataclass(frozen=True)
class Cmvn:
    """Mean and variance normalisation, (x + shift) * scale; both (560,)."""

    shift: NDArray[np.float32]
    scale: NDArray[np.float32]

    def __post_init__(self) -> None:
        for row in (self.shift, self.scale):
            if row.shape != (FEATURE_SIZE,):
                raise ShapeError(f"CMVN rows are {row.shape}, expected ({FEATURE_SIZE},)")

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(T, 560) -> (T, 560)."""
        normalised: NDArray[np.float32] = (features + self.shift) * self.scale
        return normalised


def stack(rows: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return `count` stacks of 7 rows every 6, (count, 560); the last row fills what is missing."""
    at = STRIDE * np.arange(count)[:, None] + np.arange(STACK)
    picked: NDArray[np.float32] = rows[np.minimum(at, len(rows) - 1)]
    return picked.reshape(count, FEATURE_SIZE)


def offline_lfr(pcm: Tensor) -> Tensor:
    """Return the stacked features of a whole clip before CMVN, for training.

    Args:
        pcm: 16 kHz, (T,), in [-1, 1].

    Returns:
        (ceil(fbank frames / 6), 560), float32. Equal to the stream's, which may drop a last
        frame made of less than 40 ms.
    """
    rows = fbank_rows(pcm.numpy())
    return torch.from_numpy(stacked(rows))


def fbank_rows(pcm: Pcm) -> NDArray[np.float32]:
    """Return the log filter-bank energies of a whole clip, (T, 80), 100 Hz."""
    return _fbank()(pcm)


def stacked(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Stack the filter-bank rows (T, 80) of a whole clip: (ceil(T / 6), 560)."""
    if not len(rows):
        return np.zeros((0, FEATURE_SIZE), dtype=np.float32)
    return stack(_with_front(rows), -(-len(rows) // STRIDE))


@cache
def _fbank() -> Fbank:
    return Fbank("hamming", scale=32768.0)


def _with_front(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate((rows[:1].repeat(_FRONT_COPIES, axis=0), rows))


class StackedFeatures:
    """Stage[Pcm, features (n, 560)]: n is 4 for each 240 ms, at most 4 at the end.

    Every sample is transformed once. Work happens in blocks of 240 ms only, so that even rounding
    does not depend on how the input was cut.

    Args:
        cmvn: normalisation of the checkpoint.
        dither: level of the noise added to 16-bit samples. The reference runs with 1.0, which
            makes its codes random; 0 makes ours a function of the sound.
        seed: of that noise.
    """

    def __init__(self, cmvn: Cmvn, dither: float = 0.0, seed: int = 0) -> None:
        self._cmvn = cmvn
        self._dither = np.float32(dither)
        self._noise = np.random.default_rng(seed) if dither else None
        self._blocks = Rechunker(BLOCK_SAMPLES)
        self._pcm: Pcm = np.zeros(0, dtype=np.float32)
        self._rows = np.zeros((0, MELS), dtype=np.float32)
        self._started = False

    def push(self, pcm: Pcm, /) -> Iterable[NDArray[np.float32]]:
        """Take 16 kHz samples and return the features of each full block, (4, 560)."""
        out = []
        for block in self._blocks.push(pcm):
            rows = self._extend(block)
            out.append(self._take((len(rows) - STACK) // STRIDE + 1))
        return out

    def flush(self) -> Iterable[NDArray[np.float32]]:
        """Return the features of the rest, (n, 560) with n in 1..4, if it holds a stack.

        As in the reference a rest of less than about 55 ms makes no frame.
        """
        for block in self._blocks.flush():
            rows = self._extend(block)
            if len(rows) >= STACK:
                return (self._take(-(-(len(rows) - _FRONT_COPIES) // STRIDE)),)
        return ()

    def _extend(self, block: Pcm) -> NDArray[np.float32]:
        """Append the rows that `block` completes and return all that wait."""
        pcm = np.concatenate((self._pcm, block))
        count = frame_count(len(pcm))
        noise = None
        if self._noise is not None:
            drawn = self._noise.standard_normal((count, FRAME_SAMPLES), dtype=np.float32)
            noise = drawn * self._dither
        rows = _fbank()(pcm, noise)
        self._pcm = pcm[count * HOP_SAMPLES :].copy()
        if count and not self._started:
            self._started, rows = True, _with_front(rows)
        self._rows = np.concatenate((self._rows, rows))
        return self._rows

    def _take(self, count: int) -> NDArray[np.float32]:
        features = self._cmvn(stack(self._rows, count))
        self._rows = self._rows[STRIDE * count :].copy()
        return features


def log_mel_128(pcm: Tensor) -> Tensor:
    """Return `log_mel` as a tensor, for training: (T,) -> (128, T // 160)."""
    return torch.from_numpy(log_mel(pcm.numpy()))


def log_mel(pcm: Pcm, loudest: float = SILENT) -> NDArray[np.float32]:
    """Return Whisper's log-mel spectrogram.

    Args:
        pcm: 16 kHz, (T,), T > 200; both ends are continued by reflection.
        loudest: largest value of what was heard before; the range reaches down from there.

    Returns:
        (128, T // 160) float32: log10 energies, at most 8 below the loudest, / 4 + 1.

    Raises:
        ShapeError: too short to reflect.
    """
    half = _WHISPER_FFT // 2
    if len(pcm) <= half:
        raise ShapeError(f"{len(pcm)} samples are too few for a log-mel; it takes {half + 1}")
    padded = np.pad(pcm, half, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WHISPER_FFT)[::HOP_SAMPLES]
    spectrum = np.fft.rfft(frames[: len(pcm) // HOP_SAMPLES] * _hann())
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    energies = np.log10(np.maximum(whisper_bank() @ power.T, np.float32(1e-10)))
    scaled: NDArray[np.float32] = (energies + np.float32(4)) / np.float32(4)
    floor = scaled.max(initial=np.float32(loudest)) - np.float32(2)
    limited: NDArray[np.float32] = np.maximum(scaled, floor)
    return limited


@cache
def whisper_bank() -> NDArray[np.float32]:
    """Return Slaney's area-normalised mel triangles, (128, 201), 0 to 8 kHz."""
    top = _slaney_mel(np.array(RATE_HZ / 2))
    edges = _slaney_hz(np.linspace(0.0, float(top), LOG_MEL_BANDS + 2))
    bins = np.linspace(0.0, RATE_HZ / 2, _WHISPER_FFT // 2 + 1)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (right - left))
    return triangles.astype(np.float32)


# Slaney's scale: linear below 1 kHz (15 mel), logarithmic above, 27 steps to a factor of 6.4.
_HZ_PER_MEL = 200.0 / 3
_BREAK_HZ, _BREAK_MEL = 1000.0, 15.0
_LOG_STEP = np.log(6.4) / 27.0


def _slaney_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _BREAK_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz / _HZ_PER_MEL, above)


def _slaney_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _HZ_PER_MEL, above)


@cache
def _hann() -> NDArray[np.float32]:
    phase = 2 * np.pi * np.arange(_WHISPER_FFT) / _WHISPER_FFT
    return (0.5 - 0.5 * np.cos(phase)).astype(np.float32)
