"""LoRA through `peft`: small matrices beside the large ones, for models too large to train whole.

Adapters are kept in peft's own format, so that other tools read them. Source: arXiv:2106.09685.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from step_audio.core.errors import InputError, StepAudioError, WeightsError
from step_audio.core.json_files import read_object
from step_audio.engine.step1 import Step1
from step_audio.train.checkpoints import (
    ADAPTER_CONFIG,
    Checkpoint,
    CheckpointWriter,
    new_folder,
    provenance,
    run_name,
)

if TYPE_CHECKING:
    from peft import LoraConfig

TARGETS: Final = (
    *("q_proj", "k_proj", "v_proj", "o_proj"),
    *("gate_proj", "up_proj", "down_proj"),
)
ADAPTER_FILE: Final = "adapter_model.safetensors"
_PREFIX: Final = "base_model.model."
_VARIANTS: Final = (
    *("use_dora", "use_qalora", "use_bdlora", "kasa_config", "arrow_config"),
    *("rank_pattern", "alpha_pattern", "fan_in_fan_out", "layer_replication"),
    *("modules_to_save", "trainable_token_indices", "target_parameters", "lora_bias"),
)
"""Keys of peft's config that, when set, change more than W + scale * B A."""


class PeftMissing(StepAudioError):
    """peft is not installed."""

    code = "peft_missing"

    def __init__(self) -> None:
        super().__init__("LoRA needs the package peft; pip install 'step-audio[train]'")


@dataclass(frozen=True, slots=True)
class Lora:
    """Rank of the adapters, their scale alpha / rank, and the matrices they stand beside."""

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = TARGETS

    @property
    def scale(self) -> float:
        """Factor of B A in the sum W + scale * B A."""
        return self.alpha / self.rank


def add_adapters(model: Step1, lora: Lora) -> None:
    """Put adapters into a model on the meta device and freeze everything else.

    Raises:
        PeftMissing; InputError: the rank is not positive.
    """
    if lora.rank < 1:
        raise InputError(f"the rank of LoRA is {lora.rank}; give 1 or more, 16 is usual")
    config = _peft_config(lora)
    from peft import inject_adapter_in_model  # noqa: PLC0415 - optional

    inject_adapter_in_model(config, model, low_cpu_mem_usage=True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_adapter(name))


def _peft_config(lora: Lora, base: str | None = None) -> LoraConfig:
    """Return the adapters as peft describes them. Raises PeftMissing."""
    try:
        from peft import LoraConfig  # noqa: PLC0415 - optional
    except ImportError:
        raise PeftMissing from None
    return LoraConfig(
        base_model_name_or_path=base,
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=list(lora.targets),
        lora_dropout=0.0,
        bias="none",
        inference_mode=base is not None,
    )


def is_adapter(name: str) -> bool:
    """Return whether a parameter of that name belongs to an adapter."""
    return ".lora_A." in name or ".lora_B." in name


def published_name(name: str) -> str:
    """Return the published name of a parameter that may stand inside a LoRA layer."""
    return name.replace(".base_layer.", ".")


def adapter_start(name: str, shape: tuple[int, ...]) -> Tensor:
    """Return the value an adapter begins with: A uniform from a seed of its name, B zero.

    The bounds are peft's, which draws from one generator in the order of the layers. Ours is the
    same in every process and for any number of them.
    """
    if ".lora_B." in name:
        return torch.zeros(shape)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    bound = math.sqrt(1.0 / shape[1])
    return torch.empty(shape).uniform_(-bound, bound, generator=torch.Generator().manual_seed(seed))


def save_adapter(
    folder: Path, tensors: Mapping[str, Tensor], lora: Lora, base: Path, facts: Mapping[str, Any]
) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors` as peft does."""
    _peft_config(lora, base.name).save_pretrained(str(folder))
    named = {_PREFIX + n.replace(".default.", "."): t.contiguous() for n, t in tensors.items()}
    save_file(named, folder / ADAPTER_FILE)
    (folder / ADAPTER_FILE).chmod(0o644)  # the library writes for the owner only
    (folder / "training.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def merge_adapter(base: Path, adapter: Path, out: Path) -> None:
    """Write base + scale * B A as an ordinary checkpoint, one matrix in memory at a time.

    peft's `merge_and_unload` wants the whole model in memory, which is 264 GB for the largest.

    Raises:
        WeightsError, InputError: a folder is not what it should be, or they do not fit.
    """
    new_folder(out, base, adapter)
    source = Checkpoint(base)
    scale = _scale(adapter / ADAPTER_CONFIG)
    writer = CheckpointWriter(out, source.raw_config)
    used = 0
    try:
        opened: Any = safe_open(str(adapter / ADAPTER_FILE), "pt")
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{adapter / ADAPTER_FILE}: {error}") from None
    with opened as file:
        known = set(file.keys())
        for name, tensor in source.tensors():
            stem = _PREFIX + name.removesuffix(".weight")
            merged = tensor
            if f"{stem}.lora_A.weight" in known:
                a = file.get_tensor(f"{stem}.lora_A.weight").float()
                b = file.get_tensor(f"{stem}.lora_B.weight").float()
                if (b.shape[0], a.shape[1]) != tuple(tensor.shape):
                    raise InputError(f"the adapter of {name} does not fit {base}")
                merged = (tensor.float() + scale * (b @ a)).to(tensor.dtype)
                used += 2
            writer.add(name, merged)
    if used != len(known):
        raise InputError(f"{len(known) - used} tensors of {adapter} have no place in {base}")
    writer.close(base, {"base": provenance(base), "adapter": run_name(adapter)})


def _scale(path: Path) -> float:
    """Return the factor of B A that an adapter's config asks for.

    Raises:
        WeightsError: not readable. InputError: no rank, or a variant whose sum is another.
    """
    config = read_object(path, WeightsError)
    variants = [key for key in _VARIANTS if config.get(key)]
    if config.get("peft_type", "LORA") != "LORA" or variants:
        raise InputError(
            f"{path}: adapters with {', '.join(variants) or config.get('peft_type')} cannot be"
            " merged here; merge them with peft"
        )
    try:
        rank = int(config["r"])
        return float(config["lora_alpha"]) / (math.sqrt(rank) if config.get("use_rslora") else rank)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        raise InputError(f"{path} names no r and lora_alpha") from None
