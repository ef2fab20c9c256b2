"""`lm_step1/` and `sampling/`: the language model, with and without cache, and one drawn id."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from step_audio.engine.alibi import alibi_bias, alibi_slopes
from step_audio.engine.decoder import Step1Decoder
from step_audio.engine.sampling import forbid, repeated_id
from step_audio.engine.step1 import Block, Step1, Step1Config
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


def _kept(folder: Path) -> dict[str, Tensor]:
    return arrays(folder / "lm_step1" / "data.safetensors")


def config(folder: Path) -> Step1Config:
    """Return the recorded model's sizes."""
    return Step1Config.from_mapping(facts(folder / "lm_step1" / "config.json"))


@cache
def model(folder: Path) -> Step1:
    """Return the recorded model, as it trains."""
    made = Step1(config(folder))
    read_weights(made, folder / "lm_step1" / "weights.safetensors")
    return made


@cache
def decoder(folder: Path) -> Step1Decoder:
    """Return the recorded model, as it serves."""
    return Step1Decoder(config(folder), arrays(folder / "lm_step1" / "weights.safetensors"))


def _alibi(folder: Path) -> Errors:
    for name, wanted in _kept(folder).items():
        if name.startswith("alibi."):
            heads, count = wanted.shape[:2]
            bias = alibi_bias(alibi_slopes(heads), 0, count)
            causal = torch.ones(count, count, dtype=torch.bool).tril()
            hidden = int((~torch.isneginf(bias[:, ~causal])).sum())
            yield f"{heads} heads", gap(bias[:, causal], wanted[:, causal]) + hidden


@torch.inference_mode()
def _parts(folder: Path) -> Errors:
    kept, block = _kept(folder), model(folder).model.layers[0]
    assert isinstance(block, Block)
    x = kept["attn.x"]
    biases = model(folder).biases(x.shape[1], x.dtype, x.device)
    yield "attention", gap(block.self_attn(x, biases), kept["attn.y"])
    yield "feed-forward", gap(block.mlp(x), kept["mlp.y"])
    yield "norm", gap(block.input_layernorm(x), kept["rms.y"])


@torch.inference_mode()
def _logits(folder: Path) -> Errors:
    for name in cases_with(_kept(folder), "logits"):
        case = case_of(_kept(folder), name)
        ids, wanted = case["ids"], case["logits"]
        got = model(folder)(ids if ids.dim() == 2 else ids[None])
        got = got if ids.dim() == 2 else got[0]
        yield name, gap(got[..., -wanted.shape[-2] :, :], wanted)


@torch.inference_mode()
def _cached(folder: Path) -> Errors:
    for name in cases_with(_kept(folder), "logits"):
        case = case_of(_kept(folder), name)
        ids, wanted = case["ids"], case["logits"]
        if ids.dim() != 1:
            continue
        for piece in (1, 7, len(ids)):
            cache = decoder(folder).new_cache()
            parts = [decoder(folder).extend(p[None], [cache]) for p in torch.split(ids, piece)]
            got = decoder(folder).logits(torch.cat(parts, dim=1)[0])
            yield f"{name} by {piece}", gap(got[-len(wanted) :], wanted)


def _decode(folder: Path) -> tuple[list[int], list[Tensor]]:
    """Decode greedily from the recorded prompt; return all ids and the logits of each step."""
    kept, serving = _kept(folder), decoder(folder)
    cache, ids, fed = serving.new_cache(), kept["greedy.prompt"].tolist(), 0
    steps = []
    for _ in range(len(kept["greedy.step_logits"])):
        hidden = serving.extend(torch.tensor([ids[fed:]]), [cache])
        steps.append(serving.logits(hidden[:, -1])[0])
        fed = len(ids)
        ids.append(int(steps[-1].argmax()))
    return ids, steps


@torch.inference_mode()
def _greedy_ids(folder: Path) -> Errors:
    yield "greedy", differing(_decode(folder)[0], _kept(folder)["greedy.ids"].tolist())


@torch.inference_mode()
def _greedy_logits(folder: Path) -> Errors:
    yield "greedy", gap(torch.stack(_decode(folder)[1]), _kept(folder)["greedy.step_logits"])


def _repetition(folder: Path) -> Errors:
    kept = arrays(folder / "sampling" / "repetition_aware.safetensors")
    raw = facts(folder / "sampling" / "repetition_aware.json")
    for name in (case["name"] for case in raw["cases"]):
        case, wrong = case_of(kept, name), 0
        for ids, scores, wanted in zip(case["ids"], case["scores"], case["out"], strict=True):
            banned = repeated_id(ids.tolist(), raw["window"])
            got = scores if banned is None else forbid(scores, banned)
            wrong += int((got != wanted).sum())
        yield name, wrong


COMPONENTS = (
    Component("lm: square-root alibi", 1e-6, _alibi),
    Component("lm: attention, feed-forward, norm", 2e-4, _parts),
    Component("lm: logits", 2e-4, _logits),
    Component("lm: logits with a cache, in pieces", 2e-4, _cached),
    Component("lm: logits of greedy decoding", 2e-4, _greedy_logits),
    Component("lm: ids of greedy decoding", 0, _greedy_ids),
    Component("sampling: repetition aware", 0, _repetition),
)
