"""Both halves of the vocoder in a row against the public reference: tokens to mel to sound."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.vocoder.conftest import GOLDEN
from tests.vocoder.test_flow_golden import golden_config
from vocoder.flow import FlowInput, FlowModel
from vocoder.hift import HiftGenerator


@pytest.fixture(scope="module")
def flow() -> FlowModel:
    model = FlowModel(golden_config())
    model.load_state_dict(load_file(GOLDEN / "flow" / "weights.safetensors"))
    return model.eval()


def case(name: str) -> dict[str, Tensor]:
    arrays = load_file(GOLDEN / "flow" / "token_to_mel.safetensors")
    arrays |= load_file(GOLDEN / "token_to_wav.safetensors")
    return {k.partition(".")[2]: v for k, v in arrays.items() if k.startswith(f"{name}.")}


def relative_rms(found: Tensor, wanted: Tensor) -> float:
    assert found.shape == wanted.shape
    return float((found - wanted).square().mean().sqrt() / wanted.square().mean().sqrt())


@torch.inference_mode()
@pytest.mark.parametrize("name", ["c1", "c2"])
def test_tokens_become_the_sound_of_the_reference(
    flow: FlowModel, hift: HiftGenerator, name: str
) -> None:
    g = case(name)
    window = FlowInput(
        tokens=g["token"][0],
        embedding=g["embedding"][0],
        noise=g["z"][0],
        prompt_tokens=g["prompt_token"][0],
        prompt_mel=g["prompt_feat"][0],
    )
    mel = flow.generate(window).T[None]
    source = hift.m_source(hift.f0_predictor(mel), g["phase"], g["noise"])
    assert relative_rms(hift.decode(mel, source), g["wav"]) < 5e-3
    assert relative_rms(hift.decode(mel, g["source"]), g["wav"]) < 1e-4
