"""The short STFT at both ends of HiFT."""

from __future__ import annotations

import torch
from torch import Tensor

from vocoder.stft import MAX_MAGNITUDE, ShortStft


def test_analysis_equals_the_recorded_one(hift_data: dict[str, Tensor]) -> None:
    stft = ShortStft(16, 4)
    for case in ("flow", "short"):
        parts = stft.analyse(hift_data[f"{case}.source"][:, 0])
        torch.testing.assert_close(
            parts,
            torch.cat([hift_data[f"{case}.s_stft_real"], hift_data[f"{case}.s_stft_imag"]], dim=1),
            rtol=0,
            atol=1e-5,
        )


def test_synthesis_undoes_analysis() -> None:
    stft = ShortStft(16, 4)
    wav = torch.randn(2, 4 * 40, generator=torch.Generator().manual_seed(0))
    real, imaginary = stft.analyse(wav).chunk(2, dim=1)
    spectrum = torch.complex(real, imaginary)
    again = stft.synthesise(spectrum.abs(), spectrum.angle())
    torch.testing.assert_close(again, wav, rtol=0, atol=1e-5)


def test_magnitudes_are_clipped() -> None:
    stft = ShortStft(16, 4)
    phase = torch.zeros(1, 9, 11)
    loud = stft.synthesise(torch.full((1, 9, 11), 1e6), phase)
    limit = stft.synthesise(torch.full((1, 9, 11), MAX_MAGNITUDE), phase)
    torch.testing.assert_close(loud, limit, rtol=0, atol=0)
