"""The reference's small model (tests/golden/lm_step1), shared by the engine's tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from step_audio.engine.decoder import Step1Decoder
from step_audio.engine.step1 import Step1, Step1Config
from tests.fakes import VOCAB

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="session")
def config() -> Step1Config:
    return Step1Config.from_mapping(json.loads((GOLDEN / "lm_step1/config.json").read_text()))


@pytest.fixture(scope="session")
def state() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "lm_step1/weights.safetensors")


@pytest.fixture(scope="session")
def data() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "lm_step1/data.safetensors")


@pytest.fixture(scope="session")
def decoder(config: Step1Config, state: dict[str, torch.Tensor]) -> Step1Decoder:
    return Step1Decoder(config, state)


@pytest.fixture(scope="session")
def talker() -> Step1Decoder:
    """A small random model with the ids of `tests.fakes.VOCAB`, text and audio."""
    model = Step1(Step1Config(32, 64, 4, 2, 2, VOCAB.size + 8, max_seq_len=512))
    model.initialize(torch.Generator().manual_seed(3), std=0.3)
    return Step1Decoder(model.config, model.state_dict())
