"""The short STFT at both ends of HiFT: source in, waveform out (16 samples, hop 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MAX_MAGNITUDE = 100.0


class ShortStft(nn.Module):
    """Centred STFT and its inverse with a periodic Hann window; no weights.

    Args:
        n_fft: window length in samples.
        hop_len: samples between frames.
    """

    window: Tensor

    def __init__(self, n_fft: int, hop_len: int) -> None:
        super().__init__()
        self.n_fft, self.hop_len = n_fft, hop_len
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def analyse(self, wav: Tensor) -> Tensor:
        """Return real and imaginary parts on channels: (B, T) -> (B, n_fft + 2, T // hop + 1)."""
        spectrum = torch.stft(
            wav, self.n_fft, self.hop_len, window=self.window, return_complex=True
        )
        return torch.cat([spectrum.real, spectrum.imag], dim=1)

    def synthesise(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """Return the waveform, (B, (N - 1) * hop), of N frames.

        Args:
            magnitude: (B, n_fft // 2 + 1, N), clipped here at 100.
            phase: radians, same shape.
        """
        magnitude = magnitude.clamp(max=MAX_MAGNITUDE)
        spectrum = torch.complex(magnitude * phase.cos(), magnitude * phase.sin())
        return torch.istft(spectrum, self.n_fft, self.hop_len, window=self.window)
