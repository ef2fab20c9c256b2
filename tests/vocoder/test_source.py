"""The harmonic source: endless, and free of seams."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from tests.vocoder.conftest import GOLDEN
from vocoder.hift import HiftGenerator
from vocoder.source import HarmonicSource, SourceNoise


def test_the_fundamental_starts_at_zero_whatever_was_drawn(hift: HiftGenerator) -> None:
    golden = load_file(GOLDEN / "hift" / "source.safetensors")
    shifted = golden["phase"].clone()
    shifted[:, 0] += 1.0
    torch.testing.assert_close(
        hift.m_source(golden["f0"], shifted, golden["noise"]),
        hift.m_source(golden["f0"], golden["phase"], golden["noise"]),
        rtol=0,
        atol=0,
    )


def test_phase_does_not_drift_over_ten_hours() -> None:
    source = HarmonicSource(22050, 1, 256, alpha=0.1, sigma=0.0, voiced_threshold=10)
    f0, frames = torch.full((1, 100), 220.5), 100
    # 220.5 Hz is a hundred samples a cycle: 25600 samples are 256 whole cycles.
    hours = torch.full((1, 1), 220.5 * 36000.0, dtype=torch.float64) % 1.0
    late = source.cycles(f0, hours)[0, -1] % 1.0
    early = source.cycles(f0)[0, -1] % 1.0
    assert frames * 256 % 100 == 0
    turn = abs(float(late - early - hours[0, 0])) % 1.0
    assert min(turn, 1.0 - turn) < 1e-9


@given(cuts=st.lists(st.integers(0, 50000), max_size=6), seed=st.integers(-(2**40), 2**70))
def test_noise_depends_on_position_and_not_on_cuts(cuts: list[int], seed: int) -> None:
    whole = SourceNoise(seed, 2).noise(0, 50000)
    pieces, drawer = [], SourceNoise(seed, 2)
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 50000], strict=True):
        pieces.append(drawer.noise(start, stop))
    assert torch.equal(torch.cat(pieces, dim=-1), whole)


def test_seeds_give_other_noise_and_other_phases() -> None:
    one, two = SourceNoise(1, 9), SourceNoise(2, 9)
    assert not torch.equal(one.noise(0, 100), two.noise(0, 100))
    assert not torch.equal(one.phase(), two.phase())
    assert float(one.phase().abs().max()) <= math.pi


def test_noise_is_standard_normal_and_independent_over_harmonics() -> None:
    noise = SourceNoise(5, 2).noise(0, 200_000)[0]
    assert abs(float(noise.mean())) < 0.01
    assert abs(float(noise.std()) - 1) < 0.01
    assert abs(float((noise[0] * noise[1]).mean())) < 0.01
