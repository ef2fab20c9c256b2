"""Flow model from disk and to disk; every fact, name and shape checked before use."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from step_audio.core.errors import WeightsError
from step_audio.core.types import GROUP_MS, MEL_BANDS, SPEAKER_SIZE
from step_audio.core.vocab import AUDIO_SIZE, GROUP_SIZE
from vocoder.flow import FlowModel
from vocoder.flow_config import FlowConfig, from_dict, from_published
from vocoder.loading import load_checked, read_tensors

TOKEN_RATE_HZ = GROUP_SIZE * 1000 / GROUP_MS
"""Vocoder codes a second: 5 ids span 120 ms."""

_RATE_TOLERANCE = 0.02  # 41.6 and 42 are spellings of 41.67; 25 and 50 are other models


def load_flow(path: Path) -> FlowModel:
    """Return a flow model ready for inference, float32.

    Args:
        path: `flow.safetensors` with its facts beside it in `flow.json`, or a published
            `flow.pt` with its `cosyvoice.yaml` beside it (read as data, never executed).

    Raises:
        WeightsError: naming the file and what does not fit.
    """
    config = _read_config(path)
    check_fits_tokens(config, path)
    tensors = read_tensors(path)
    held = sum(t.numel() for t in tensors.values())
    try:
        with torch.device("meta"):  # costs no memory, whatever sizes the file claims
            described = sum(p.numel() for p in FlowModel(config).parameters())
    except (ValueError, RuntimeError, ZeroDivisionError) as error:
        raise WeightsError(f"the facts of {path} describe no model: {error}") from error
    if described > 2 * held:
        raise WeightsError(
            f"{path} holds {held} numbers, its facts describe {described}; they do not belong "
            "together, fetch both again"
        )
    model = FlowModel(config)
    load_checked(model, tensors, path)
    model.requires_grad_(requires_grad=False)
    return model.eval()


def save_flow(path: Path, model: FlowModel, dtype: torch.dtype = torch.float16) -> None:
    """Write `flow.safetensors` and `flow.json` side by side; each replaces its predecessor whole.

    Args:
        path: file that ends in `.safetensors`; its folder is made.
        model: what to write.
        dtype: of the stored numbers; half precision moves the mel by less than 0.01.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    tensors = {k: v.detach().to("cpu", dtype).contiguous() for k, v in _state(model).items()}
    save_file(tensors, partial)
    os.replace(partial, path)
    partial.write_text(json.dumps(asdict(model.config), indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path.with_suffix(".json"))


def check_fits_tokens(config: FlowConfig, path: Path) -> None:
    """Refuse a model of other tokens.

    Raises:
        WeightsError: too few embedding rows, or a token rate that is not 5 ids per 120 ms.
    """
    if config.vocab_size < AUDIO_SIZE:
        raise WeightsError(
            f"{path}: vocab_size is {config.vocab_size}, the two codebooks need {AUDIO_SIZE}; "
            "this is a single-codebook CosyVoice, use the one of Step-Audio"
        )
    rate = config.input_frame_rate
    if abs(rate - TOKEN_RATE_HZ) > _RATE_TOLERANCE * TOKEN_RATE_HZ:
        raise WeightsError(
            f"{path}: input_frame_rate is {rate:g}, but 5 ids span 120 ms, {TOKEN_RATE_HZ:.2f} a "
            "second: speech would come out at the wrong speed; use the yaml of Step-Audio"
        )
    if config.output_size != MEL_BANDS or config.spk_embed_dim != SPEAKER_SIZE:
        raise WeightsError(
            f"{path}: {config.output_size} mel bands and {config.spk_embed_dim} speaker features; "
            f"the vocoder works with {MEL_BANDS} and {SPEAKER_SIZE}"
        )


def _state(model: nn.Module) -> dict[str, torch.Tensor]:
    return dict(model.state_dict())


def _read_config(path: Path) -> FlowConfig:
    ours = path.suffix == ".safetensors"
    facts = path.with_suffix(".json") if ours else path.with_name("cosyvoice.yaml")
    try:
        text = facts.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise WeightsError(f"{facts} is missing; it belongs beside {path.name}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"{facts} cannot be read: {error}") from error
    if not ours:
        return from_published(text)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{facts} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{facts} is not a JSON object")
    return from_dict(values)
