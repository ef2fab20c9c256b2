"""Weights folders: written ones load equal, damaged ones are refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from step_audio.core.errors import WeightsError
from step_audio.engine.int8 import Int8Weight
from step_audio.engine.step1 import Step1, Step1Config
from step_audio.engine.weights import expected_shapes, load_step1, save_step1

State = dict[str, torch.Tensor]


@pytest.fixture
def folder(tmp_path: Path, config: Step1Config, state: State) -> Path:
    save_step1(tmp_path / "lm", config, state)
    return tmp_path / "lm"


def rewrite(folder: Path, tensors: State) -> None:
    save_file(tensors, folder / "model.safetensors")


def test_what_was_written_loads_equal(folder: Path, config: Step1Config, state: State) -> None:
    loaded = load_step1(folder)
    assert loaded.config == config
    module = loaded.module()
    assert all(torch.equal(module.state_dict()[name], t) for name, t in state.items())
    assert all(p.requires_grad for p in module.parameters())


@pytest.mark.parametrize("tied", [False, True])
def test_the_expected_shapes_are_those_of_the_module(tied: bool) -> None:
    config = Step1Config(24, 40, 6, 2, 2, 50, tie_word_embeddings=tied)
    built = {name: tuple(t.shape) for name, t in Step1(config).state_dict().items()}
    assert expected_shapes(config) == built


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_load(folder: Path, state: State, dtype: torch.dtype) -> None:
    rewrite(folder, {name: t.to(dtype) for name, t in state.items()})
    got = load_step1(folder).module().state_dict()
    assert all(torch.allclose(got[n], t, rtol=0.01, atol=1e-3) for n, t in state.items())


def test_packed_int8_loads_close_and_small(
    tmp_path: Path, folder: Path, config: Step1Config, state: State, data: State
) -> None:
    save_step1(tmp_path / "small", config, state, int8=True)
    sizes = [(f / "model.safetensors").stat().st_size for f in (folder, tmp_path / "small")]
    assert sizes[1] < 0.32 * sizes[0]
    loaded = load_step1(tmp_path / "small")
    assert isinstance(loaded.tensors["lm_head.weight"], Int8Weight)
    decoder = loaded.decoder("int8")
    hidden = decoder.extend(data["c2.ids"][None], [decoder.new_cache()])
    assert (decoder.logits(hidden[0]) - data["c2.logits"]).std() < 0.045


def test_tied_weights_load(tmp_path: Path, state: State) -> None:
    config = Step1Config(64, 176, 4, 2, 3, 512, tie_word_embeddings=True)
    save_step1(tmp_path, config, {k: v for k, v in state.items() if k != "lm_head.weight"})
    assert load_step1(tmp_path).module().lm_head is None


def test_shards_load(folder: Path, state: State) -> None:
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    shards = {"a.safetensors": names[:9], "b.safetensors": names[9:]}
    for shard, inside in shards.items():
        save_file({name: state[name] for name in inside}, folder / shard)
    index = {"weight_map": {n: shard for shard, inside in shards.items() for n in inside}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert set(load_step1(folder).tensors) == set(state)
    (folder / "b.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"shard b\.safetensors is missing"):
        load_step1(folder)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/x.safetensors", "x.bin", ""])
def test_shard_names_cannot_leave_the_folder(folder: Path, name: str) -> None:
    index = {"weight_map": {"model.norm.weight": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="is not the name of a shard"):
        load_step1(folder)


def test_a_wrong_shape_is_named(folder: Path, state: State) -> None:
    rewrite(folder, state | {"model.norm.weight": torch.ones(63)})
    with pytest.raises(
        WeightsError, match=r"model\.safetensors: model\.norm\.weight has shape \(63,\).*\(64,\)"
    ):
        load_step1(folder)


def test_missing_and_surplus_tensors_are_named(folder: Path, state: State) -> None:
    rewrite(folder, {k: v for k, v in state.items() if k != "model.norm.weight"})
    with pytest.raises(WeightsError, match=r"1 tensors missing, first model\.norm\.weight"):
        load_step1(folder)
    rewrite(folder, state | {"model.extra": torch.ones(1)})
    with pytest.raises(WeightsError, match=r"model\.extra is not a tensor of this config"):
        load_step1(folder)


def test_values_that_are_not_finite_are_refused(folder: Path, state: State) -> None:
    broken = state["model.norm.weight"].clone()
    broken[3] = torch.nan
    rewrite(folder, state | {"model.norm.weight": broken})
    with pytest.raises(WeightsError, match=r"model\.norm\.weight holds values that are not finite"):
        load_step1(folder)


def test_integers_without_a_scale_are_refused(folder: Path, state: State) -> None:
    rewrite(folder, state | {"lm_head.weight": state["lm_head.weight"].to(torch.int8)})
    with pytest.raises(WeightsError, match=r"lm_head\.weight has type I8"):
        load_step1(folder)


def test_truncated_files_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"model\.safetensors: not a readable safetensors file"):
        load_step1(folder)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff", '{"hidden_size": 64}', "[" * 100_000])
def test_bad_configs_are_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(WeightsError, match="config"):
        load_step1(folder)


def test_missing_files_are_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"no config\.json"):
        load_step1(tmp_path / "nothing")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"no model\.safetensors"):
        load_step1(folder)
