"""Flow models on disk: what is read, and what is refused with a reason."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from step_audio.core.errors import WeightsError
from tests.vocoder.test_stream import tiny_flow
from vocoder.flow import FlowModel
from vocoder.flow_config import FlowConfig, from_dict, from_published, nano_flow
from vocoder.flow_loading import load_flow, save_flow

MANIFEST = Path(__file__).parents[1] / "golden" / "vocoder" / "full_size_manifest.json"

PUBLISHED = """
__set_seed1: !apply:random.seed [1986]
sample_rate: 22050
spk_embed_dim: 192
half: 8
flow: !new:cosyvoice.flow.flow.MaskedDiffWithXvec
    input_size: 16
    output_size: 80
    spk_embed_dim: !ref <spk_embed_dim>
    output_type: 'mel'
    vocab_size: 5121
    input_frame_rate: 41.666
    only_mask_loss: True
    encoder: !new:cosyvoice.transformer.encoder.ConformerEncoder
        output_size: 16
        attention_heads: 2
        linear_units: 32
        num_blocks: 1
        dropout_rate: 0.1
        input_size: 16
        input_layer: 'linear'
    length_regulator: !new:cosyvoice.flow.length_regulator.InterpolateRegulator
        channels: 80
        sampling_ratios: [1, 1, 1, 1]
    decoder: !new:cosyvoice.flow.flow_matching.ConditionalCFM
        in_channels: 240
        n_spks: 1
        cfm_params: !new:omegaconf.DictConfig
            content:
                sigma_min: 1e-06
                solver: 'euler'
                t_scheduler: 'cosine'
                training_cfg_rate: 0.2
                inference_cfg_rate: 0.7
                reg_loss_type: 'l1'
        estimator: !new:cosyvoice.flow.decoder.ConditionalDecoder
            in_channels: 320
            out_channels: 80
            channels: [16, 16]
            dropout: 0.0
            attention_head_dim: 8
            n_blocks: 1
            num_mid_blocks: 1
            num_heads: 2
            act_fn: 'gelu'
hift: !new:cosyvoice.hifigan.generator.HiFTGenerator
    in_channels: 80
mel: !name:cosyvoice.utils.audio.mel_spectrogram
    n_fft: 1024
"""


def saved(tmp_path: Path) -> Path:
    path = tmp_path / "flow.safetensors"
    save_flow(path, tiny_flow())
    return path


def published(tmp_path: Path, text: str = PUBLISHED) -> Path:
    path = tmp_path / "flow.pt"
    torch.save(tiny_flow().state_dict(), path)
    path.with_name("cosyvoice.yaml").write_text(text)
    return path


def alter_facts(path: Path, **changes: object) -> None:
    facts: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(facts | changes))


def test_full_size_names_and_shapes_are_the_published_ones() -> None:
    manifest = json.loads(MANIFEST.read_text())
    raw: dict[str, Any] = manifest["flow_config"]
    matching = raw.pop("cfm")
    raw["decoder"] = matching | {"estimator": raw.pop("estimator")}
    with torch.device("meta"):
        flow = FlowModel(from_published(json.dumps({"flow": raw})))
    ours = {name: list(tensor.shape) for name, tensor in flow.state_dict().items()}
    assert ours == {name: facts["shape"] for name, facts in manifest["flow"].items()}
    assert sum(p.numel() for p in flow.parameters()) == manifest["flow_params"]


def test_a_saved_model_loads_with_equal_weights(tmp_path: Path) -> None:
    flow, path = tiny_flow(), tmp_path / "flow.safetensors"
    save_flow(path, flow, torch.float32)
    loaded = load_flow(path)
    assert loaded.config == flow.config
    assert not loaded.training
    for name, tensor in flow.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=0)


def test_half_precision_on_disk_is_float32_in_memory(tmp_path: Path) -> None:
    loaded = load_flow(saved(tmp_path))
    assert {t.dtype for t in loaded.state_dict().values()} == {torch.float32}


def test_published_files_load_and_their_facts_are_read(tmp_path: Path) -> None:
    flow = load_flow(published(tmp_path))
    assert flow.config.spk_embed_dim == 192  # through a reference
    assert flow.config.sigma_min == 1e-6
    assert flow.config.inference_cfg_rate == 0.7
    assert flow.config.n_steps == 10
    assert flow.config.encoder.attention_heads == 2
    assert flow.config.estimator.channels == (16, 16)


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!apply:os.system", "!new:os"])
def test_a_yaml_is_never_executed(tmp_path: Path, tag: str) -> None:
    mark = tmp_path / "executed"
    text = PUBLISHED + f"\nevil: {tag} ['touch {mark}']\n"
    with contextlib.suppress(WeightsError):
        from_published(text)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("vocab_size: 5121", "vocab_size: 4096", "5120"),
        ("input_frame_rate: 41.666", "input_frame_rate: 25", "wrong speed"),
        ("input_frame_rate: 41.666", "input_frame_rate: 50", "wrong speed"),
        ("num_blocks: 1", "num_blocks: 2", "is missing"),
        ("channels: [16, 16]", "channels: [24, 24]", "shape"),
        ("channels: [16, 16]", "channels: [15, 15]", "describe no model"),
        ("linear_units: 32", "linear_units: 60000", "do not belong together"),
        ("linear_units: 32", "linear_units: many", "linear_units"),
        ("linear_units: 32", "linear_units: -1", "linear_units"),
        ("    decoder:", "    decoders:", "decoder"),
        ("flow: !new", "flow: !apply", "no section 'flow'"),
        ("<spk_embed_dim>", "<nothing>", "spk_embed_dim"),
        ("sample_rate: 22050", "sample_rate: [", "not yaml"),
    ],
)
def test_a_yaml_that_does_not_fit_is_refused(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    assert old in PUBLISHED
    with pytest.raises(WeightsError, match=reason):
        load_flow(published(tmp_path, PUBLISHED.replace(old, new)))


def test_references_in_a_circle_are_refused() -> None:
    with pytest.raises(WeightsError, match="circle"):
        from_published("a: !ref <b>\nb: !ref <a>\nflow: {x: !ref <a>}")


def test_other_facts_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    alter_facts(path, surprise=1)
    with pytest.raises(WeightsError, match="surprise"):
        load_flow(path)


def test_missing_facts_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path)
    path.with_suffix(".json").unlink()
    with pytest.raises(WeightsError, match=r"flow\.json is missing"):
        load_flow(path)


def test_facts_that_are_not_json_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    for text in ("{", "[1]", "[" * 100_000):
        path.with_suffix(".json").write_text(text)
        with pytest.raises(WeightsError, match=r"flow\.json"):
            load_flow(path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(WeightsError):
        load_flow(path)


def test_facts_survive_a_round_trip() -> None:
    for config in (FlowConfig(), nano_flow(), replace(nano_flow(), n_steps=7)):
        assert from_dict(json.loads(json.dumps(asdict(config)))) == config
