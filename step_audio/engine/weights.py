"""Weights folder of the LM: `config.json` and safetensors, checked before anything is built.

Accepts float32, bfloat16, float16 and packed int8 (`step_audio.engine.int8`), in one
`model.safetensors` or in shards listed by `model.safetensors.index.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from step_audio.core.errors import WeightsError
from step_audio.engine.decoder import Precision, Step1Decoder, Weight
from step_audio.engine.int8 import SCALE_SUFFIX, Int8Weight, pack_int8
from step_audio.engine.sizes import CONFIG_KEYS, Sizes
from step_audio.engine.step1 import Step1, Step1Config

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
_FLOATS = {"F32", "BF16", "F16"}
_MAX_JSON_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Step1Weights:
    """A checked checkpoint: every name and shape of the config, all values finite."""

    config: Step1Config
    tensors: Mapping[str, Weight]

    def decoder(self, precision: Precision = "float32", device: str = "cpu") -> Step1Decoder:
        """Return the model for generation."""
        return Step1Decoder(self.config, self.tensors, precision, device)

    def module(self, dtype: torch.dtype = torch.float32) -> Step1:
        """Return the model for training and full-sequence evaluation."""
        with torch.device("meta"):
            model = Step1(self.config)
        state = {
            name: weight.dequantized(dtype) if isinstance(weight, Int8Weight) else weight.to(dtype)
            for name, weight in self.tensors.items()
        }
        model.load_state_dict(state, assign=True)
        return model.requires_grad_(True)


def expected_shapes(config: Step1Config) -> dict[str, tuple[int, ...]]:
    """Return the published names and the shapes that a config asks for.

    Spelled out: to build the model on the meta device instead costs two seconds of imports.
    """
    given = {name: getattr(config, key) for name, key in CONFIG_KEYS.items()}
    return Sizes(**given, tied=config.tie_word_embeddings).tensor_shapes()


def load_step1(folder: Path) -> Step1Weights:
    """Read and check a weights folder.

    Raises:
        WeightsError: a file is missing, truncated or not of its format, a name or shape differs
            from the config (the first mismatch is named), or a value is not finite.
    """
    config = Step1Config.from_mapping(_read_json(folder / CONFIG_FILE))
    missing = expected_shapes(config)
    tensors: dict[str, Weight] = {}
    for path in _weight_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                _read_file(path, file, missing, tensors)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path.name}: not a readable safetensors file: {error}") from None
    if missing:
        raise WeightsError(f"{folder.name}: {len(missing)} tensors missing, first {min(missing)}")
    return Step1Weights(config, tensors)


def is_packed(folder: Path) -> bool:
    """Return whether a folder holds packed int8. Raises WeightsError: no weights, or unreadable."""
    for path in _weight_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                if any(name.endswith(SCALE_SUFFIX) for name in file.keys()):  # noqa: SIM118
                    return True
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path.name}: not a readable safetensors file: {error}") from None
    return False


def save_step1(
    folder: Path, config: Step1Config, state: Mapping[str, Tensor], *, int8: bool = False
) -> None:
    """Write a weights folder that `load_step1` reads; int8 makes it a quarter of the size."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {"architectures": ["Step1ForCausalLM"], "model_type": "step1", **asdict(config)}
    (folder / CONFIG_FILE).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    tensors = pack_int8(state) if int8 else {k: v.detach().clone() for k, v in state.items()}
    save_file(tensors, folder / WEIGHTS_FILE)
    (folder / WEIGHTS_FILE).chmod(0o644)  # the library writes for the owner only


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise WeightsError(f"{path.name}: too large for a JSON file of a checkpoint")
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"no {path.name} in {path.parent}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path.name}: not readable as JSON: {error}") from None
    if not isinstance(data, dict):
        raise WeightsError(f"{path.name}: expected a JSON object")
    return data


def _weight_files(folder: Path) -> list[Path]:
    if not (folder / INDEX_FILE).exists():
        if not (folder / WEIGHTS_FILE).is_file():
            raise WeightsError(f"no {WEIGHTS_FILE} or {INDEX_FILE} in {folder}")
        return [folder / WEIGHTS_FILE]
    shards = _read_json(folder / INDEX_FILE).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise WeightsError(f"{INDEX_FILE}: no weight_map")
    names = sorted({str(name) for name in shards.values()})
    for name in names:
        # A name from outside must not lead out of the folder.
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise WeightsError(f"{INDEX_FILE}: {name!r} is not the name of a shard")
        if not (folder / name).is_file():
            raise WeightsError(f"{INDEX_FILE}: shard {name} is missing")
    return [folder / name for name in names]


def _read_file(
    path: Path, file: Any, missing: dict[str, tuple[int, ...]], tensors: dict[str, Weight]
) -> None:
    """Move the tensors of one open file from `missing` to `tensors`."""
    names = set(file.keys())
    for name in sorted(names):
        if name.endswith(SCALE_SUFFIX) and name.removesuffix(SCALE_SUFFIX) in names:
            continue  # read with its matrix
        where = f"{path.name}: {name}"
        if name not in missing:
            raise WeightsError(f"{where} is not a tensor of this config, or comes twice")
        shape = missing.pop(name)
        _check_header(where, file.get_slice(name), shape, is_int8=name + SCALE_SUFFIX in names)
        if name + SCALE_SUFFIX not in names:
            tensors[name] = _finite(where, file.get_tensor(name))
            continue
        scale_name = name + SCALE_SUFFIX
        _check_header(f"{path.name}: {scale_name}", file.get_slice(scale_name), shape[:1])
        scale = _finite(f"{path.name}: {scale_name}", file.get_tensor(scale_name)).float()
        tensors[name] = Int8Weight(file.get_tensor(name), scale)


def _check_header(
    where: str, header: Any, shape: tuple[int, ...], *, is_int8: bool = False
) -> None:
    found, dtype = tuple(header.get_shape()), header.get_dtype()
    if found != shape:
        raise WeightsError(f"{where} has shape {found}, the config asks for {shape}")
    if dtype not in ({"I8"} if is_int8 else _FLOATS):
        raise WeightsError(f"{where} has type {dtype}, expected float, or I8 with a scale")


def _finite(where: str, tensor: Tensor) -> Tensor:
    if not bool(torch.isfinite(tensor).all()):
        raise WeightsError(f"{where} holds values that are not finite")
    return tensor
