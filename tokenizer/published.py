"""The published checkpoint's folder and its `config.yaml`, as FunASR writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from step_audio.core.errors import ShapeError, WeightsError
from tokenizer.sanm import SanmConfig
from tokenizer.weight_files import read_text

RECOGNISER: Final = (
    "dengcunqin/speech_paraformer-large_asr_nat-zh-cantonese-en-16k-vocab8501-online"
)

# What this code computes; a config that says otherwise belongs to another model.
_ENCODER = {
    "input_layer": "pe_online",
    "normalize_before": True,
    "sanm_shfit": 0,  # spelt so by its authors
    "selfattention_layer_type": "sanm",
}
_FRONT_END = {
    "fs": 16000,
    "window": "hamming",
    "n_mels": 80,
    "frame_length": 25,
    "frame_shift": 10,
    "lfr_m": 7,
    "lfr_n": 6,
}
_SIZES = ("output_size", "attention_heads", "linear_units", "num_blocks")


def find_recogniser(folder: Path) -> Path:
    """Return the folder that holds `model.pt`: `folder` itself, or the published one inside.

    Raises:
        WeightsError: neither does.
    """
    for place in (folder / RECOGNISER, folder):
        if (place / "model.pt").is_file():
            return place
    raise WeightsError(
        f"{folder} holds neither linguistic.safetensors nor {RECOGNISER}/model.pt; "
        "fetch or train the weights first"
    )


def encoder_config(path: Path) -> SanmConfig:
    """Return the encoder's sizes from a `config.yaml`, read as data.

    Raises:
        WeightsError: not YAML, or of another model than the one this code computes.
    """
    try:
        raw = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, RecursionError, ValueError):
        raise WeightsError(f"{path} is not YAML") from None
    if not isinstance(raw, dict) or raw.get("encoder") != "SANMEncoderChunkOpt":
        raise WeightsError(f"{path} does not describe a SANMEncoderChunkOpt")
    encoder = _section(raw, "encoder_conf", _ENCODER, path)
    _section(raw, "frontend_conf", _FRONT_END, path)
    missing = [name for name in _SIZES if name not in encoder]
    if missing:
        raise WeightsError(f"{path}: encoder_conf lacks {missing[0]}")
    try:
        return SanmConfig(
            **{name: encoder[name] for name in _SIZES},
            kernel_size=encoder.get("kernel_size", 11),
        )
    except ShapeError as error:
        raise WeightsError(f"{path}: {error}") from None


def _section(raw: dict[str, Any], name: str, wanted: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a section whose values do not contradict `wanted`."""
    section = raw.get(name)
    if not isinstance(section, dict):
        raise WeightsError(f"{path} lacks {name}")
    for key, value in wanted.items():
        if key in section and section[key] != value:
            raise WeightsError(f"{path}: {name}.{key} is {section[key]!r}, only {value!r} works")
    return section
