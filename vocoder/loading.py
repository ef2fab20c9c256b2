"""Weights from disk into modules, every name and shape checked first."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from step_audio.core.errors import WeightsError
from vocoder.flow_config import published_sections
from vocoder.hift import HiftConfig, HiftGenerator
from vocoder.weight_norm import fold_weight_norm

PUBLISHED_FACTS: Final = "cosyvoice.yaml"

# Above anything published, below what would exhaust memory before shapes are compared.
_MAX_CHANNELS, _MAX_HARMONICS, _MAX_RATE = 4096, 64, 64

_PREFIX = "generator."
_PARAMETRIZED = {
    ".parametrizations.weight.original0": ".weight_g",
    ".parametrizations.weight.original1": ".weight_v",
}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a `.safetensors` file or of a published `.pt` state dict.

    Raises:
        WeightsError: missing, truncated, or not a plain mapping of names to tensors.
    """
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; fetch or train the weights first")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, SafetensorError, pickle.UnpicklingError, EOFError) as error:
        raise WeightsError(f"{path} cannot be read as weights: {error}") from error
    except zipfile.BadZipFile as error:
        raise WeightsError(f"{path} is truncated: {error}") from error
    if not isinstance(loaded, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in loaded.items()
    ):
        raise WeightsError(f"{path} is not a state dict of tensors")
    return dict(loaded)


def load_checked(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load `tensors` into `module` as float32.

    Raises:
        WeightsError: naming `path` and the first name that is missing, unknown, of another
            shape, or not finite.
    """
    expected = module.state_dict()
    for name, wanted in expected.items():
        found = tensors.get(name)
        if found is None:
            raise WeightsError(f"{path}: {name} is missing")
        if found.shape != wanted.shape:
            raise WeightsError(
                f"{path}: {name} has shape {tuple(found.shape)}, expected {tuple(wanted.shape)}"
            )
        if not bool(torch.isfinite(found).all()):
            raise WeightsError(f"{path}: {name} holds values that are not finite")
    unknown = sorted(set(tensors) - set(expected))
    if unknown:
        raise WeightsError(f"{path}: {unknown[0]} is not part of this model")
    module.load_state_dict({name: tensors[name].float() for name in expected})


def hift_config(values: Mapping[str, Any], origin: str) -> HiftConfig:
    """Return the config of a JSON object with the fields of `HiftConfig`.

    The nested groups of the published yaml, `istft_params` and `f0_predictor`, are read as well.

    Raises:
        WeightsError: unknown field or a value of the wrong kind.
    """
    values = _flat(values)
    kinds = asdict(HiftConfig())
    unknown = sorted(set(values) - {f.name for f in fields(HiftConfig)})
    if unknown:
        raise WeightsError(f"{origin}: unknown field {unknown[0]!r}")
    checked: dict[str, Any] = {}
    for name, value in values.items():
        frozen = _frozen(value)
        if not _same_kind(frozen, kinds[name]):
            raise WeightsError(f"{origin}: {name} is {value!r}, expected like {kinds[name]!r}")
        checked[name] = frozen
    config = HiftConfig(**checked)
    _check_sizes(config, origin)
    return config


def _check_sizes(config: HiftConfig, origin: str) -> None:
    levels, kernels = len(config.upsample_rates), len(config.resblock_kernel_sizes)
    wrong = {
        "base_channels": not 2**levels <= config.base_channels <= _MAX_CHANNELS
        or config.base_channels % 2**levels != 0,
        "f0_channels": not 1 <= config.f0_channels <= _MAX_CHANNELS,
        "in_channels": not 1 <= config.in_channels <= _MAX_CHANNELS,
        "nb_harmonics": config.nb_harmonics > _MAX_HARMONICS,
        "sampling_rate": config.sampling_rate < 1,
        "istft_n_fft": not 2 <= config.istft_n_fft <= _MAX_CHANNELS,
        "istft_hop_len": not 1 <= config.istft_hop_len <= config.istft_n_fft // 2,
        "upsample_rates": not all(1 <= rate <= _MAX_RATE for rate in config.upsample_rates),
        "upsample_kernel_sizes": len(config.upsample_kernel_sizes) != levels
        or not all(
            rate <= kernel <= 4 * rate and (kernel - rate) % 2 == 0
            for kernel, rate in zip(
                config.upsample_kernel_sizes, config.upsample_rates, strict=False
            )
        ),
        "resblock_kernel_sizes": not _odd_and_small(config.resblock_kernel_sizes),
        "resblock_dilation_sizes": len(config.resblock_dilation_sizes) != kernels,
        "source_resblock_kernel_sizes": len(config.source_resblock_kernel_sizes) != levels
        or not _odd_and_small(config.source_resblock_kernel_sizes),
        "source_resblock_dilation_sizes": len(config.source_resblock_dilation_sizes) != levels,
    }
    for name, bad in wrong.items():
        if bad:
            raise WeightsError(f"{origin}: {name} is {getattr(config, name)!r}, which cannot be")


_NESTED = {
    "istft_params": {"n_fft": "istft_n_fft", "hop_len": "istft_hop_len"},
    "f0_predictor": {"cond_channels": "f0_channels"},
}


def _odd_and_small(kernels: tuple[int, ...]) -> bool:
    return all(kernel % 2 == 1 and kernel <= _MAX_RATE for kernel in kernels)


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    flat = dict(values)
    for group, names in _NESTED.items():
        inner = flat.pop(group, None)
        if isinstance(inner, Mapping):
            flat |= {ours: inner[theirs] for theirs, ours in names.items() if theirs in inner}
    return flat


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value


def _same_kind(value: Any, example: Any) -> bool:
    if isinstance(example, tuple):
        return (
            isinstance(value, tuple)
            and bool(value)
            and all(_same_kind(item, example[0]) for item in value)
        )
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(example, int) and not isinstance(value, int):
        return False
    return number and value >= 0


def _published_config(path: Path) -> HiftConfig:
    """Return the config in the `hift` section of a published yaml, the published one without."""
    try:
        section = published_sections(path.read_text(encoding="utf-8")).get("hift")
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    if not isinstance(section, dict):
        return HiftConfig()
    known = {field.name for field in fields(HiftConfig)}
    flat = _flat(section)
    return hift_config({name: value for name, value in flat.items() if name in known}, str(path))


def _published_name(name: str) -> str:
    name = name.removeprefix(_PREFIX)
    for parametrized, plain in _PARAMETRIZED.items():
        name = name.replace(parametrized, plain)
    return name


def load_hift(path: Path, *, fold: bool = True) -> HiftGenerator:
    """Return a waveform generator ready for inference.

    Args:
        path: `hift.safetensors`, with its config beside it in `hift.json`, or a published
            `hift.pt`, whose config is in the `cosyvoice.yaml` beside it, or else the published one.
        fold: fold weight normalisation; False to train on.

    Raises:
        WeightsError: naming the file and the first mismatch.
    """
    config_path = path.with_suffix(".json")
    config = HiftConfig()
    if config_path.is_file():
        try:
            values = json.loads(config_path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise WeightsError(f"{config_path} is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise WeightsError(f"{config_path} is not a JSON object")
        config = hift_config(values, str(config_path))
    elif path.suffix == ".safetensors":
        raise WeightsError(f"{config_path} is missing; it names the sizes of {path.name}")
    elif path.with_name(PUBLISHED_FACTS).is_file():
        config = _published_config(path.with_name(PUBLISHED_FACTS))
    tensors = {_published_name(name): tensor for name, tensor in read_tensors(path).items()}
    generator = HiftGenerator(config)
    load_checked(generator, tensors, path)
    if fold:
        fold_weight_norm(generator)
        generator.requires_grad_(requires_grad=False)
        generator.eval()
    return generator
