"""The recorded waveform generator, rebuilt from its golden config and weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from vocoder.hift import HiftConfig, HiftGenerator
from vocoder.loading import hift_config, load_checked

GOLDEN = Path(__file__).parents[1] / "golden" / "vocoder"


def golden_hift_config() -> HiftConfig:
    return hift_config(json.loads((GOLDEN / "hift" / "config.json").read_text()), "golden")


@pytest.fixture(scope="session")
def hift() -> HiftGenerator:
    path = GOLDEN / "hift" / "weights.safetensors"
    generator = HiftGenerator(golden_hift_config())
    load_checked(generator, load_file(path), path)
    return generator.eval().requires_grad_(requires_grad=False)


@pytest.fixture(scope="session")
def hift_data() -> dict[str, Tensor]:
    return load_file(GOLDEN / "hift" / "data.safetensors")


@pytest.fixture(scope="session")
def speech_mel() -> Tensor:
    """Log-mel of an English sentence, (T, 80)."""
    return load_file(GOLDEN / "mel" / "data.safetensors")["en_5.mel"].T.contiguous()


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
