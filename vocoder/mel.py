"""Log-mel of 22.05 kHz speech: what the flow predicts and the waveform generator reads.

Magnitude (not power) STFT without centring, Slaney mel bands, natural log with a floor.
Source: HiFi-GAN (arXiv:2010.05646) features as used by the Step-Audio vocoder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from step_audio.core.errors import AudioError
from step_audio.core.types import MEL_BANDS
from vocoder.grid import HOP_SAMPLES, SAMPLE_RATE_HZ

LOG_FLOOR = 1e-5
_MAGNITUDE_EPS = 1e-9

# Slaney's Auditory Toolbox scale: linear to 1 kHz, logarithmic above.
_HZ_PER_MEL = 200.0 / 3
_LOG_START_HZ = 1000.0
_LOG_START_MEL = _LOG_START_HZ / _HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27.0


@dataclass(frozen=True, slots=True)
class MelConfig:
    """Trained facts of the mel that a vocoder was made for."""

    n_fft: int = 1024
    num_mels: int = MEL_BANDS
    sampling_rate: int = SAMPLE_RATE_HZ
    hop_size: int = HOP_SAMPLES
    win_size: int = 1024
    fmin: float = 0.0
    fmax: float = 8000.0

    @property
    def margin_samples(self) -> int:
        """Samples that the first and the last frame reach beyond the hops they stand for."""
        return (self.n_fft - self.hop_size) // 2


def _hz_to_mel(hz: float) -> float:
    if hz < _LOG_START_HZ:
        return hz / _HZ_PER_MEL
    return _LOG_START_MEL + math.log(hz / _LOG_START_HZ) / _LOG_STEP


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    log_part = _LOG_START_HZ * np.exp(_LOG_STEP * (mel - _LOG_START_MEL))
    return np.where(mel < _LOG_START_MEL, mel * _HZ_PER_MEL, log_part)


@lru_cache(maxsize=4)
def mel_filterbank(config: MelConfig) -> Tensor:
    """Return the triangular bands, (num_mels, n_fft // 2 + 1) float32, each of unit area in Hz."""
    bins_hz = np.linspace(0.0, config.sampling_rate / 2, config.n_fft // 2 + 1)
    edges = np.linspace(_hz_to_mel(config.fmin), _hz_to_mel(config.fmax), config.num_mels + 2)
    edges_hz = _mel_to_hz(edges)
    widths = np.diff(edges_hz)
    rising = (bins_hz[None, :] - edges_hz[:-2, None]) / widths[:-1, None]
    falling = (edges_hz[2:, None] - bins_hz[None, :]) / widths[1:, None]
    bands = np.maximum(0.0, np.minimum(rising, falling))
    bands *= (2.0 / (edges_hz[2:] - edges_hz[:-2]))[:, None]
    return torch.from_numpy(bands.astype(np.float32))


@lru_cache(maxsize=4)
def _window(size: int) -> Tensor:
    return torch.hann_window(size)


def log_mel(wav: Tensor, config: MelConfig | None = None, *, padded: bool = False) -> Tensor:
    """Return the log-mel of speech.

    Args:
        wav: (B, T) float32 in [-1, 1] at `config.sampling_rate`.
        config: the vocoder's mel; the published one by default.
        padded: `wav` already carries `config.margin_samples` of real sound on both sides,
            so nothing is mirrored at its ends.

    Returns:
        (B, num_mels, T // hop_size), natural log, floored at log(1e-5).

    Raises:
        AudioError: too short to mirror its ends (or, padded, for one frame).
    """
    config = config or MelConfig()
    margin = config.margin_samples
    if not padded:
        if wav.shape[-1] <= margin:
            needed_ms = math.ceil((margin + 1) * 1000 / config.sampling_rate)
            raise AudioError(
                f"{wav.shape[-1]} samples are too short for a mel: need {needed_ms} ms"
            )
        wav = F.pad(wav[:, None], (margin, margin), mode="reflect")[:, 0]
    if wav.shape[-1] < config.n_fft:
        raise AudioError(f"{wav.shape[-1]} samples are shorter than one mel window")
    spectrum = torch.stft(
        wav,
        config.n_fft,
        config.hop_size,
        config.win_size,
        window=_window(config.win_size).to(wav.device),
        center=False,
        return_complex=True,
    )
    magnitude = (spectrum.real.square() + spectrum.imag.square() + _MAGNITUDE_EPS).sqrt()
    bands = mel_filterbank(config).to(wav.device) @ magnitude
    return bands.clamp(min=LOG_FLOOR).log()
