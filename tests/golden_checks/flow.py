"""`vocoder/flow`: the flow-matching decoder, in parts and whole."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from tests.golden_checks.component import (
    Component,
    Errors,
    arrays,
    case_of,
    cases_with,
    differing,
    facts,
    gap,
    read_weights,
)
from vocoder.encoder import EncoderBlock, relative_positions
from vocoder.flow import FlowInput, FlowModel, time_steps
from vocoder.flow_config import FlowConfig, from_published

NO_GUIDANCE_STEPS = 10


def config(folder: Path) -> FlowConfig:
    """Return the recorded model's sizes, read as a published yaml is."""
    raw = facts(folder / "vocoder" / "flow" / "config.json")
    raw["decoder"] = raw.pop("cfm") | {"estimator": raw.pop("estimator")}
    return from_published(json.dumps({"flow": raw}))  # json is yaml


@cache
def model(folder: Path) -> FlowModel:
    """Return the recorded model."""
    made = FlowModel(config(folder))
    read_weights(made, folder / "vocoder" / "flow" / "weights.safetensors")
    return made


def token_to_mel(folder: Path, case: str) -> Tensor:
    """Return the mel of a recorded case, (frames, 80), from the recorded noise."""
    g = case_of(_kept(folder, "token_to_mel"), case)
    window = FlowInput(
        tokens=g["token"][0],
        embedding=g["embedding"][0],
        noise=g["z"][0],
        prompt_tokens=g["prompt_token"][0],
        prompt_mel=g["prompt_feat"][0],
    )
    return model(folder).generate(window)


def _kept(folder: Path, name: str) -> dict[str, Tensor]:
    return arrays(folder / "vocoder" / "flow" / f"{name}.safetensors")


@torch.inference_mode()
def _encoder(folder: Path) -> Errors:
    kept = _kept(folder, "encoder")
    for name in cases_with(kept, "y"):
        case = case_of(kept, name)
        if "lens" not in case:
            yield name, gap(model(folder).encoder(case["x"]), case["y"])
            continue
        padded = model(folder).encoder(case["x"], case["lens"])
        for row, n in enumerate(case["lens"].tolist()):
            yield f"{name} row {row}", gap(padded[row, :n], case["y"][row, :n])


@torch.inference_mode()
def _attention(folder: Path) -> Errors:
    kept, encoder = _kept(folder, "rel_attention"), model(folder).encoder
    x = kept["x"]
    yield "scaled input", gap(x * encoder.embed.scale, kept["scaled_x"])
    positions = relative_positions(x.shape[1], x.shape[2])
    yield "positions", gap(positions, kept["pos_emb"])
    block = encoder.encoders[0]
    assert isinstance(block, EncoderBlock)
    yield "attention", gap(block.self_attn(x, positions, None), kept["attn_out_layer0"])
    yield "layer", gap(block(x, positions, None), kept["layer0_out"])


@torch.inference_mode()
def _lengths(folder: Path) -> Errors:
    kept = _kept(folder, "length_regulator")
    for name in cases_with(kept, "y"):
        case = case_of(kept, name)
        prompt, target = case["mel_lens"].tolist()
        y = model(folder).length_regulator((case["x1"], prompt), (case["x2"], target))
        yield name, gap(y, case["y"])


@torch.inference_mode()
def _estimator(folder: Path) -> Errors:
    kept, estimator = _kept(folder, "estimator"), model(folder).decoder.estimator
    for name in cases_with(kept, "y"):
        g = case_of(kept, name)
        y = estimator(g["x"], g["mask"], g["mu"], g["t"], spks=g["spks"], cond=g["cond"])
        yield name, gap(y, g["y"])


@torch.inference_mode()
def _solver(folder: Path) -> Errors:
    kept, guided = _kept(folder, "cfm"), model(folder).decoder
    for name in cases_with(kept, "y"):
        g = case_of(kept, name)
        if "n_timesteps" in g:
            y = guided(g["z"], g["mu"], g["spks"], g["cond"], int(g["n_timesteps"]))
        else:  # recorded with the guidance off
            y = _unguided(folder).decoder(g["z"], g["mu"], g["spks"], g["cond"], NO_GUIDANCE_STEPS)
        yield name, gap(y, g["y"])


@cache
def _unguided(folder: Path) -> FlowModel:
    made = FlowModel(replace(config(folder), inference_cfg_rate=0.0))
    read_weights(made, folder / "vocoder" / "flow" / "weights.safetensors")
    return made


def _mel(folder: Path) -> Errors:
    kept = _kept(folder, "token_to_mel")
    for name in cases_with(kept, "mel"):
        yield name, gap(token_to_mel(folder, name).T[None], kept[f"{name}.mel"])


@torch.inference_mode()
def _speaker(folder: Path) -> Errors:
    kept = _kept(folder, "token_to_mel")
    for name in cases_with(kept, "spk_proj"):
        yield name, gap(model(folder).speaker(kept[f"{name}.embedding"]), kept[f"{name}.spk_proj"])


def _frames(folder: Path) -> Errors:
    cases = facts(folder / "vocoder" / "flow" / "mel_length.json")["cases"]
    for rate, lengths in cases.items():
        with torch.device("meta"):
            flow = FlowModel(replace(config(folder), input_frame_rate=float(rate)))
        yield f"{rate} tokens/s", differing([flow.frames(n) for n in range(len(lengths))], lengths)


def _schedule(folder: Path) -> Errors:
    kept = facts(folder / "vocoder" / "flow" / "t_schedule.json")["float32"]
    for n, times in kept.items():
        yield f"{n} steps", gap(time_steps(int(n)), times)


COMPONENTS = (
    Component("flow: token encoder", 1e-4, _encoder),
    Component("flow: relative attention", 1e-4, _attention),
    Component("flow: length regulator", 1e-4, _lengths),
    Component("flow: speaker projection", 1e-5, _speaker),
    Component("flow: frames of so many tokens", 0, _frames),
    Component("flow: schedule", 1e-6, _schedule),
    Component("flow: estimator", 5e-4, _estimator),
    Component("flow: solver", 5e-4, _solver),
    Component("flow: tokens to mel", 5e-4, _mel),
)
