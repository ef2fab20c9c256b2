"""Checkpoints of the published layout: merged, cut into shards, reckoned with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from step_audio.core.errors import InputError, WeightsError
from step_audio.engine.step1 import Step1, Step1Config
from step_audio.engine.weights import load_step1, save_step1
from step_audio.train import checkpoints, memory
from step_audio.train.checkpoints import Checkpoint, provenance
from step_audio.train.lora import Lora
from step_audio.train.merge import Parent, merge
from tests.train.tiny_training import CONFIG, write_published

BIG = Step1Config(12288, 31232, 96, 8, 88, 74752)
"""About 130 billion parameters."""


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return dict(Checkpoint(folder).tensors())


def test_a_merge_is_the_weighted_mean_of_any_number_of_parents(tmp_path: Path) -> None:
    folders = [write_published(tmp_path / str(seed), seed) for seed in range(3)]
    weights = (5.0, 5.0, 1.0)
    parents = [Parent(f, w) for f, w in zip(folders, weights, strict=True)]
    merge(parents, tmp_path / "out", shard_bytes=100_000)
    merged, parts = tensors(tmp_path / "out"), [tensors(folder) for folder in folders]
    for name, tensor in merged.items():
        mean = sum(w * part[name] for w, part in zip(weights, parts, strict=True)) / 11
        torch.testing.assert_close(tensor, mean)
    assert len(list((tmp_path / "out").glob("model-*-of-*.safetensors"))) > 2
    assert load_step1(tmp_path / "out").config == load_step1(folders[0]).config
    facts = json.loads((tmp_path / "out" / "training.json").read_text())
    assert [parent["weight"] for parent in facts["parents"]] == pytest.approx(
        [5 / 11, 5 / 11, 1 / 11]
    )


def test_a_merge_with_itself_changes_nothing(tmp_path: Path) -> None:
    folder = write_published(tmp_path / "a", dtype=torch.bfloat16)
    merge([Parent(folder, 0.3), Parent(folder, 0.7)], tmp_path / "out")
    before, after = tensors(folder), tensors(tmp_path / "out")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert after["model.norm.weight"].dtype == torch.bfloat16


def test_weights_that_make_no_mean_are_refused(tmp_path: Path) -> None:
    folder = write_published(tmp_path / "a")
    for weights in ((1.0, -1.0), (float("nan"), 1.0)):
        with pytest.raises(InputError):
            merge([Parent(folder, w) for w in weights], tmp_path / "out")
    with pytest.raises(InputError, match="read from"):
        merge([Parent(folder, 1.0)], folder)
    with pytest.raises(InputError, match="FOLDER=WEIGHT"):
        Parent.parse("runs/sft2")
    assert Parent.parse("a=b/c=0.5") == Parent(Path("a=b/c"), 0.5)


def test_packed_int8_reads_as_what_it_stands_for(tmp_path: Path) -> None:
    model = Step1(CONFIG)
    save_step1(tmp_path, CONFIG, model.state_dict(), int8=True)
    read, loaded = tensors(tmp_path), load_step1(tmp_path).module().state_dict()
    assert all(torch.equal(read[name], loaded[name]) for name in loaded)
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(Checkpoint(tmp_path).read(name, 5, 9), loaded[name][5:9])


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    folder = write_published(tmp_path / "a")
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**raw, "intermediate_size": 50}))
    with pytest.raises(WeightsError, match="gate_proj"):
        Checkpoint(folder)
    (folder / "model-00002.safetensors").unlink()
    with pytest.raises(WeightsError, match="model-00002"):
        Checkpoint(folder)


@pytest.mark.parametrize("whole", [True, False])
def test_two_trainings_of_one_model_are_two_origins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """Equal names and sizes: only the values tell them apart, also where not all are read."""
    monkeypatch.setattr(checkpoints, "WHOLE_BYTES", 2**30 if whole else 1000)
    monkeypatch.setattr(checkpoints, "_SLICE", 256)
    found = [provenance(write_published(tmp_path / str(s) / "export", s)) for s in (0, 1, 0)]
    found[2] = provenance(write_published(tmp_path / "again" / "export", 0))
    assert found[0]["sha256"] == found[2]["sha256"] != found[1]["sha256"]
    assert found[0]["whole"] is whole


def test_130_billion_parameters_want_many_processes_or_lora() -> None:
    whole = memory.reckon(BIG, rows=1, length=4096, recompute=True)
    assert whole.weights == pytest.approx(4 * 1.3e11, rel=0.1)
    assert whole.total > 2e12
    has = 140 * 2**30
    with pytest.raises(InputError, match=r"--lora 16.*torchrun with \d+ processes"):
        memory.check(whole, has, lora=False, recompute=True, workers=1)
    spread = memory.reckon(BIG, rows=1, length=4096, workers=64, recompute=True)
    memory.check(spread, has, lora=False, recompute=True, workers=64)
    adapters = memory.reckon(BIG, rows=1, length=4096, workers=8, recompute=True, lora=Lora(16))
    memory.check(adapters, has, lora=True, recompute=True, workers=8)


def test_the_reckoning_is_near_what_a_step_takes() -> None:
    """Parameters, gradients and moments are exact; they are what grows with the model."""
    need = memory.reckon(CONFIG, rows=2, length=16, bf16=False)
    count = sum(p.numel() for p in Step1(CONFIG).parameters())
    assert (need.weights, need.gradients, need.optimizer) == (4 * count, 4 * count, 8 * count)
