"""Mel to whispered sound: noise that is given the spectrum of the mel, without a generator.

The neural generator speaks noise with a buzz at its frame rate (86 Hz), which is a pitch. Here each
frame is a windowed piece of white noise, filtered by the smooth curve through the mel's bands, and
the pieces overlap by three quarters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from step_audio.core.types import Pcm
from vocoder.grid import HOP_SAMPLES
from vocoder.mel import MelConfig, mel_filterbank

_SIZE = 1024
_MARGIN = (_SIZE - HOP_SAMPLES) // 2  # samples that a frame reaches beyond its hop on either side
_NO_VOICE_HZ, _NO_VOICE_DB = 400.0, 30.0  # below there is nothing but the voice
_LEVEL_DB = -3.0  # of the same mel spoken; a whisper is quieter
_FALL_DB_PER_KHZ = 6.0  # above the highest band


class WhisperStream:
    """A `WaveStream` that whispers, 256 samples a frame; it does not depend on the cuts.

    Args:
        seed: of the noise.
    """

    def __init__(self, seed: int) -> None:
        self._noise = np.random.default_rng(seed)
        self._window = np.hanning(_SIZE + 1)[:_SIZE]
        self._curve, self._offset = _spectrum()
        self._scale = _level(self._window)
        self._tail = np.zeros(_SIZE)
        self._drop = _MARGIN  # samples in front of the first frame

    def push(self, mel: Tensor, /, ahead: Tensor | None = None) -> list[Pcm]:
        """Take frames (T, 80); return the samples that became final, 17 ms behind."""
        frames = mel.cpu().numpy().astype(np.float64)
        if not len(frames):
            return []
        bins = self._curve.shape[1]
        draws = self._noise.standard_normal((len(frames), 2, bins))
        gains = np.exp(frames @ self._curve + self._offset)
        pieces = np.fft.irfft(gains * (draws[:, 0] + 1j * draws[:, 1]), axis=1)
        pieces *= self._window * self._scale
        whole = np.zeros(_SIZE + HOP_SAMPLES * len(frames))
        whole[:_SIZE] = self._tail
        for at, piece in enumerate(pieces):
            whole[at * HOP_SAMPLES : at * HOP_SAMPLES + _SIZE] += piece
        self._tail = whole[HOP_SAMPLES * len(frames) :]
        return self._sound(whole[: HOP_SAMPLES * len(frames)])

    def flush(self) -> list[Pcm]:
        """Return the rest of the last frame's hop."""
        return self._sound(self._tail[:_MARGIN])

    def _sound(self, samples: NDArray[np.float64]) -> list[Pcm]:
        kept = samples[self._drop :].astype(np.float32)
        self._drop = max(0, self._drop - len(samples))
        return [np.clip(kept, -1.0, 1.0)] if len(kept) else []


def _spectrum() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how log-mel becomes the log-magnitude of a window's bins: (80, bins) and (bins,)."""
    config = MelConfig()
    bands = mel_filterbank(config).double().numpy()  # (80, bins)
    hz = np.linspace(0.0, config.sampling_rate / 2, bands.shape[1])
    area = bands.sum(axis=1)
    centres = (bands @ hz) / area
    curve = np.stack([np.interp(hz, centres, row) for row in np.eye(len(bands))])
    offset = -(np.log(area) @ curve)
    neper = np.log(10) / 20
    offset -= neper * _NO_VOICE_DB * np.clip(1 - hz / _NO_VOICE_HZ, 0, None)
    offset -= neper * _FALL_DB_PER_KHZ * np.clip(hz - centres[-1], 0, None) / 1000
    return curve, offset


def _level(window: NDArray[np.float64]) -> float:
    """Return the factor with which frames of noise have the magnitude that was asked for."""
    # One bin of unit variance (per part) has sqrt(2) the magnitude; a stationary noise of deviation
    # s has s * sqrt(sum of squares) in the analysis, and s * sqrt(1.5) after the overlap.
    deviation = np.sqrt(2 / _SIZE) * np.sqrt(np.square(window).sum() / HOP_SAMPLES)
    return float(10 ** (_LEVEL_DB / 20) / (deviation * np.sqrt(np.square(window).sum())))
