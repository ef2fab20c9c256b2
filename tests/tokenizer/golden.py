"""Arrays recorded from the public reference; provenance in tests/golden/README of each section."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_tensors

from tokenizer.published import RECOGNISER
from tokenizer.sanm import SanmConfig, SanmEncoder

GOLDEN = Path(__file__).parents[1] / "golden"
LINGUISTIC, SEMANTIC = GOLDEN / "linguistic_tokenizer", GOLDEN / "semantic_tokenizer"
SPEAKER, PACKING = GOLDEN / "speaker_embedding", GOLDEN / "token_packing"
LINGUISTIC_CLIPS = ("en_1", "en_2", "zh_3", "fr_4")
CLIPS = (*LINGUISTIC_CLIPS, "en_5", "ko_6")


@cache
def arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a recorded file."""
    return dict(load_file(path))


def facts(path: Path) -> dict[str, Any]:
    """Return a recorded JSON object."""
    raw: dict[str, Any] = json.loads(path.read_text())
    return raw


def sound(clip: str) -> NDArray[np.float32]:
    """Return a clip at 16 kHz, as it came."""
    return arrays(PACKING / "preprocess.safetensors")[f"{clip}.resampled16k"]


def levelled(clip: str) -> NDArray[np.float32]:
    """Return a clip at 16 kHz with its peak at 0.999."""
    return arrays(PACKING / "preprocess.safetensors")[f"{clip}.energy_norm"]


def encoder_config() -> SanmConfig:
    """Return the sizes of the recorded encoder."""
    conf = facts(LINGUISTIC / "config.json")["encoder_conf"]
    names = ("output_size", "attention_heads", "linear_units", "num_blocks", "kernel_size")
    return SanmConfig(**{name: conf[name] for name in names})


def encoder() -> SanmEncoder:
    """Return the recorded encoder."""
    made = SanmEncoder(encoder_config())
    weights = load_tensors(LINGUISTIC / "weights.safetensors")
    made.load_state_dict({k.removeprefix("encoder."): v for k, v in weights.items()})
    return made.eval()


def write_published(folder: Path) -> Path:
    """Lay the recorded weights out as the published checkpoint is; return where `model.pt` is."""
    recogniser = folder / RECOGNISER
    recogniser.mkdir(parents=True)
    weights = load_tensors(LINGUISTIC / "weights.safetensors")
    torch.save(weights | {"decoder.unused": torch.zeros(3)}, recogniser / "model.pt")
    shutil.copy(LINGUISTIC / "config.json", recogniser / "config.yaml")  # JSON is YAML
    shutil.copy(LINGUISTIC / "am.mvn", recogniser)
    shutil.copy(LINGUISTIC / "linguistic_tokenizer.npy", folder)
    shutil.copy(SEMANTIC / "speech_tokenizer_v1.onnx", folder)
    return recogniser
