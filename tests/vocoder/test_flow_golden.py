"""Flow model against arrays recorded from the public reference (random weights, float32)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from vocoder.encoder import EncoderBlock, relative_positions
from vocoder.flow import FlowInput, FlowModel, time_steps
from vocoder.flow_config import FlowConfig, from_published

GOLDEN = Path(__file__).parents[1] / "golden" / "vocoder" / "flow"


def golden_config() -> FlowConfig:
    raw: dict[str, Any] = json.loads((GOLDEN / "config.json").read_text())
    matching = raw.pop("cfm")
    raw["decoder"] = matching | {"estimator": raw.pop("estimator")}
    return from_published(json.dumps({"flow": raw}))  # json is yaml


@pytest.fixture(scope="module")
def model() -> FlowModel:
    flow = FlowModel(golden_config())
    flow.load_state_dict(load_file(GOLDEN / "weights.safetensors"))
    return flow.eval()


def arrays(name: str) -> dict[str, Tensor]:
    return load_file(GOLDEN / f"{name}.safetensors")


def worst(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max()) if a.numel() else 0.0


@torch.inference_mode()
@pytest.mark.parametrize("case", ["c0", "c1", "c2", "c3"])
def test_encoder_equals_the_reference(model: FlowModel, case: str) -> None:
    golden = arrays("encoder")
    assert worst(model.encoder(golden[f"{case}.x"]), golden[f"{case}.y"]) < 1e-4


@torch.inference_mode()
def test_encoder_ignores_padding(model: FlowModel) -> None:
    golden = arrays("encoder")
    lengths = golden["batch.lens"]
    y = model.encoder(golden["batch.x"], lengths)
    for row, n in enumerate(lengths.tolist()):
        assert worst(y[row, :n], golden["batch.y"][row, :n]) < 1e-4


@torch.inference_mode()
def test_relative_attention_equals_the_reference(model: FlowModel) -> None:
    golden = arrays("rel_attention")
    x = golden["x"]
    assert worst(x * model.encoder.embed.scale, golden["scaled_x"]) < 1e-5
    positions = relative_positions(9, 64)
    assert worst(positions, golden["pos_emb"]) < 1e-5
    block = model.encoder.encoders[0]
    assert isinstance(block, EncoderBlock)
    assert worst(block.self_attn(x, positions, None), golden["attn_out_layer0"]) < 1e-4
    assert worst(block(x, positions, None), golden["layer0_out"]) < 1e-4


@torch.inference_mode()
@pytest.mark.parametrize("case", ["c0", "c1", "c2", "c3"])
def test_length_regulator_equals_the_reference(model: FlowModel, case: str) -> None:
    golden = arrays("length_regulator")
    prompt, target = golden[f"{case}.mel_lens"].tolist()
    y = model.length_regulator((golden[f"{case}.x1"], prompt), (golden[f"{case}.x2"], target))
    assert worst(y, golden[f"{case}.y"]) < 1e-4


@torch.inference_mode()
@pytest.mark.parametrize("case", ["c0", "c1", "c2", "c3", "padded"])
def test_estimator_equals_the_reference(model: FlowModel, case: str) -> None:
    g = {k.split(".")[1]: v for k, v in arrays("estimator").items() if k.startswith(f"{case}.")}
    y = model.decoder.estimator(g["x"], g["mask"], g["mu"], g["t"], spks=g["spks"], cond=g["cond"])
    assert worst(y, g["y"]) < 5e-4


@torch.inference_mode()
@pytest.mark.parametrize("case", ["c0", "c1", "c2", "c3"])
def test_solver_equals_the_reference(model: FlowModel, case: str) -> None:
    g = {k.split(".")[1]: v for k, v in arrays("cfm").items() if k.startswith(f"{case}.")}
    y = model.decoder(g["z"], g["mu"], g["spks"], g["cond"], int(g["n_timesteps"]))
    assert worst(y, g["y"]) < 5e-4


@pytest.mark.parametrize("case", ["c0", "c1", "c2"])
def test_tokens_to_mel_equals_the_reference(model: FlowModel, case: str) -> None:
    g = {k.split(".")[1]: v for k, v in arrays("token_to_mel").items() if k.startswith(case)}
    window = FlowInput(
        tokens=g["token"][0],
        embedding=g["embedding"][0],
        noise=g["z"][0],
        prompt_tokens=g["prompt_token"][0],
        prompt_mel=g["prompt_feat"][0],
    )
    assert worst(model.generate(window).T[None], g["mel"]) < 5e-4


@torch.inference_mode()
def test_speaker_projection_equals_the_reference(model: FlowModel) -> None:
    golden = arrays("token_to_mel")
    assert worst(model.speaker(golden["c0.embedding"]), golden["c0.spk_proj"]) < 1e-5


def test_mel_lengths_equal_the_reference() -> None:
    cases: dict[str, list[int]] = json.loads((GOLDEN / "mel_length.json").read_text())["cases"]
    with torch.device("meta"):
        for rate, lengths in cases.items():
            flow = FlowModel(FlowConfig(input_frame_rate=float(rate)))
            assert [flow.frames(n) for n in range(len(lengths))] == lengths


def test_schedule_equals_the_reference() -> None:
    for n, times in json.loads((GOLDEN / "t_schedule.json").read_text())["float32"].items():
        assert time_steps(int(n)) == pytest.approx(times, abs=1e-6)
