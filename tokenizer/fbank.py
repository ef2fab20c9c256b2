"""Kaldi's log mel filter bank in NumPy, frame by frame.

A frame's numbers depend on its own 400 samples alone, so a stream computes each frame once.
Pre-emphasis 0.97, removal of the frame's mean, 512-point power spectrum, triangles on the mel
scale from 20 Hz to Nyquist. Source: Kaldi, feat/feature-fbank.cc and mel-computations.cc.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from step_audio.core.types import Pcm

RATE_HZ: Final = 16_000
FRAME_SAMPLES: Final = 400
HOP_SAMPLES: Final = 160
MELS: Final = 80

_FFT = 512
_PREEMPHASIS = np.float32(0.97)
_LOW_HZ = 20.0
_FLOOR = np.finfo(np.float32).eps

Window = Literal["hamming", "povey"]


def frame_count(samples: int) -> int:
    """Return how many whole frames `samples` hold."""
    return max(0, (samples - FRAME_SAMPLES) // HOP_SAMPLES + 1)


class Fbank:
    """Samples to log mel energies. Immutable.

    Args:
        window: "hamming" (speech recognition) or "povey" (speaker recognition).
        scale: factor on the samples; 32768 gives the levels of 16-bit integers.
    """

    def __init__(self, window: Window, scale: float = 1.0) -> None:
        phase = 2 * np.pi * np.arange(FRAME_SAMPLES) / (FRAME_SAMPLES - 1)
        hamming, hann = 0.54 - 0.46 * np.cos(phase), 0.5 - 0.5 * np.cos(phase)
        shape = hamming if window == "hamming" else hann**0.85
        self._window = shape.astype(np.float32)
        self._scale = np.float32(scale)
        self._bank = mel_bank().T.copy()

    def __call__(self, pcm: Pcm, noise: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return the log energies of every whole frame, (frames, 80).

        Args:
            pcm: 16 kHz, (T,); samples after the last whole frame are not used.
            noise: (frames, 400), added to the scaled frames: Kaldi's dither.
        """
        count = frame_count(len(pcm))
        if not count:
            return np.zeros((0, MELS), dtype=np.float32)
        views = np.lib.stride_tricks.sliding_window_view(pcm, FRAME_SAMPLES)[::HOP_SAMPLES]
        frames = views * self._scale
        if noise is not None:
            frames += noise
        frames -= frames.mean(axis=1, keepdims=True)
        # The sample before a frame counts as equal to its first one.
        before = np.concatenate((frames[:, :1], frames[:, :-1]), axis=1)
        shaped = (frames - _PREEMPHASIS * before) * self._window
        spectrum = np.fft.rfft(shaped, _FFT)[:, : _FFT // 2]
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
        energies: NDArray[np.float32] = np.log(np.maximum(power @ self._bank, _FLOOR))
        return energies


def mel_bank() -> NDArray[np.float32]:
    """Return the triangles over the bins below Nyquist, (80, 256)."""

    def mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
        return 1127.0 * np.log1p(hz / 700.0)

    low, high = mel(np.array([_LOW_HZ, RATE_HZ / 2]))
    step = (high - low) / (MELS + 1)
    left = low + step * np.arange(MELS)[:, None]
    bins = mel(np.arange(_FFT // 2) * RATE_HZ / _FFT)
    rising, falling = (bins - left) / step, (left + 2 * step - bins) / step
    bank: NDArray[np.float32] = np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
    return bank
