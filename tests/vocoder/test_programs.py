"""The programs compute what the modules do, to the bit, for any length and any company."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import pytest
import torch

from step_audio.core.config import load_profile
from step_audio.core.types import TokenGroup
from step_audio.runtime import Runtime
from vocoder.estimator import Estimator, EstimatorConfig, Span
from vocoder.flow import FlowModel
from vocoder.hift import HiftConfig, HiftGenerator
from vocoder.programs import velocity_program, wave_program
from vocoder.stream import FlowVocoder

LENGTHS: Final = (31, 1, 2, 17, 84, 201)
SMALL: Final = EstimatorConfig(
    channels=(32, 32), attention_head_dim=8, n_blocks=2, num_mid_blocks=2
)
UNEVEN: Final = replace(SMALL, channels=(32, 64, 16), num_heads=2)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.fixture(params=[SMALL, UNEVEN], ids=["two levels", "three levels"], scope="module")
def estimator(request: pytest.FixtureRequest) -> Estimator:
    torch.manual_seed(0)
    return Estimator(request.param).eval().requires_grad_(requires_grad=False)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("frames", LENGTHS)
def test_the_velocity_is_that_of_the_estimator(
    estimator: Estimator, frames: int, rows: int
) -> None:
    program = velocity_program(estimator)
    x, spks, cond = drawn(rows, 160, frames), drawn(rows, 80), drawn(rows, 80, frames)
    lengths = torch.tensor([max(1, frames - 3 * row) for row in range(rows)])
    mask = (torch.arange(frames) < lengths[:, None])[:, None].float()
    with torch.inference_mode():
        times = [row[:1] for row in estimator.times(torch.tensor([0.3, 0.7]))]
        for span in (Span(None), Span(mask, alone=True), Span(mask)):
            wanted = estimator.step(x, times, span, spks, cond)
            assert torch.equal(program(x, times, span, spks, cond), wanted)


@pytest.mark.parametrize("frames", LENGTHS)
def test_the_samples_are_those_of_the_generator(frames: int) -> None:
    torch.manual_seed(0)
    generator = HiftGenerator(HiftConfig(base_channels=32)).eval()
    generator.requires_grad_(requires_grad=False)
    mel, source = drawn(1, 80, frames), drawn(1, 1, frames * generator.config.hop_size)
    with torch.inference_mode():
        assert torch.equal(wave_program(generator)(mel, source), generator.decode(mel, source))


def test_a_program_follows_the_weights() -> None:
    estimator = Estimator(SMALL).eval().requires_grad_(requires_grad=False)
    program = velocity_program(estimator)
    x, spks, cond = drawn(1, 160, 20), drawn(1, 80), drawn(1, 80, 20)
    with torch.inference_mode():
        times = estimator.times(torch.tensor([0.5]))
        before = program(x, times, Span(None), spks, cond)
    estimator.final_proj.weight.mul_(2.0)
    with torch.inference_mode():
        after = program(x, times, Span(None), spks, cond)
        assert torch.equal(after, estimator.step(x, times, Span(None), spks, cond))
    assert not torch.equal(after, before)


def test_nano_speaks_by_programs_and_sounds_as_without() -> None:
    services = Runtime(load_profile("nano", {})).services()
    vocoder = services.vocoder
    assert isinstance(vocoder, FlowVocoder)
    flow = vocoder._flow.flow
    assert isinstance(flow, FlowModel)
    program, modules = flow.decoder.velocity, flow.decoder.estimator.step
    assert program != modules
    rng = np.random.default_rng(0)
    groups = [
        TokenGroup(tuple(rng.integers(1024, size=2)), tuple(rng.integers(4096, size=3)))
        for _ in range(12)
    ]
    sounds = []
    for velocity in (program, modules):
        flow.decoder.velocity = velocity
        stream = vocoder.open(services.voices.get(services.default_voice), 3)
        wave = stream.wave._generator  # type: ignore[attr-defined]
        assert wave.wave != wave.decode
        pieces = [pcm for group in groups for pcm in stream.push(group)]
        sounds.append(np.concatenate([*pieces, *stream.flush()]))
    flow.decoder.velocity = program
    assert np.array_equal(sounds[0], sounds[1])
