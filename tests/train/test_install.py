"""A run becomes a profile that opens, checks and answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from step_audio.cli import main
from step_audio.core.config import load_profile, raw_profile
from step_audio.core.errors import InputError
from step_audio.core.weights import open_weights
from step_audio.engine.weights import load_step1
from step_audio.train.checkpoints import Checkpoint, CheckpointWriter
from step_audio.train.install import install
from step_audio.train.lora import Lora, save_adapter
from tests.train.tiny_training import write_published

NANO = load_profile("nano").weights / "lm"


def write_run(folder: Path) -> Path:
    """A run that doubled one matrix of nano's LM."""
    source = Checkpoint(NANO)
    writer = CheckpointWriter(folder / "export", source.raw_config)
    for name, tensor in source.tensors():
        writer.add(name, 2 * tensor if name.endswith("layers.0.mlp.down_proj.weight") else tensor)
    writer.close(NANO, {"steps": 3})
    return folder


def test_a_run_becomes_a_profile_that_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "runs" / "sft1")
    file = tmp_path / "tuned.yaml"
    assert main(["train", "install", str(run), "--profile", str(tmp_path / "tuned")]) == 0
    assert f"serve --profile {file}" in capsys.readouterr().out
    profile = load_profile(str(file))
    assert (profile.model_name, profile.weights) == ("tuned", tmp_path / "tuned")
    assert raw_profile(str(file))["tools"] == raw_profile("nano")["tools"]
    weights = open_weights(profile.weights, profile.origin)
    weights.verify()
    nano = open_weights(NANO.parent, "")
    assert set(weights.files) - {"lm/training.json"} == set(nano.files)
    assert weights.facts == nano.facts
    assert "runs/sft1" not in (tmp_path / "tuned" / "MODEL_CARD.md").read_text()
    assert "sft1/export" in (tmp_path / "tuned" / "MODEL_CARD.md").read_text()
    lm = load_step1(weights.folder / "lm")
    assert lm.config == load_step1(NANO).config
    assert main(["check", "--profile", str(file)]) == 0
    with pytest.raises(InputError, match="exists already"):
        install(run, file, "nano")


def test_adapters_are_merged_into_the_base(tmp_path: Path) -> None:
    name = "model.layers.0.mlp.down_proj"
    source = Checkpoint(NANO)
    rows, columns = source.shapes[f"{name}.weight"]
    a, b = torch.ones(2, columns), torch.ones(rows, 2)
    pair = {f"{name}.lora_A.default.weight": a, f"{name}.lora_B.default.weight": b}
    save_adapter(tmp_path / "run" / "export", pair, Lora(2, 4.0), NANO, {})
    install(tmp_path / "run", tmp_path / "tuned.yaml", "nano")
    merged = Checkpoint(tmp_path / "tuned" / "lm").read(f"{name}.weight")
    torch.testing.assert_close(merged, source.read(f"{name}.weight") + 2.0 * (b @ a))
    assert (tmp_path / "tuned" / "lm" / "tokenizer.json").is_file()


def test_what_does_not_fit_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    other = write_published(tmp_path / "other")
    with pytest.raises(InputError, match="has 5184 ids, profile nano needs 7168"):
        install(other, tmp_path / "tuned.yaml", "nano")
    run = write_run(tmp_path / "run")
    (run / "export" / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="another text tokenizer"):
        install(run, tmp_path / "tuned.yaml", "nano")
    with pytest.raises(InputError, match="has no export/ or best/"):
        install(tmp_path, tmp_path / "tuned.yaml", "nano")
    with pytest.raises(InputError, match="has no language model"):
        install(run, tmp_path / "tuned.yaml", "scripted")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["other", "run"]
    assert json.loads((other / "config.json").read_text())["vocab_size"] == 5184
