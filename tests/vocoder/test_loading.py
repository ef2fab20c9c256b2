"""Weights are checked name by name and shape by shape before they are used."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from step_audio.core.errors import WeightsError
from tests.vocoder.conftest import GOLDEN, golden_hift_config
from vocoder.hift import HiftGenerator
from vocoder.loading import hift_config, load_hift


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    return load_file(GOLDEN / "hift" / "weights.safetensors")


def written(folder: Path, tensors: dict[str, Tensor], name: str = "hift.safetensors") -> Path:
    path = folder / name
    path.with_suffix(".json").write_text(json.dumps(asdict(golden_hift_config())))
    if path.suffix == ".pt":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    return path


@pytest.mark.parametrize("name", ["hift.safetensors", "hift.pt"])
def test_both_formats_load_and_sound_the_same(
    tmp_path: Path,
    tensors: dict[str, Tensor],
    hift: HiftGenerator,
    hift_data: dict[str, Tensor],
    name: str,
) -> None:
    loaded = load_hift(written(tmp_path, tensors, name))
    wav = loaded.decode(hift_data["short.mel"], hift_data["short.source"])
    torch.testing.assert_close(wav, hift_data["short.wav"], rtol=0, atol=1e-6)
    assert not any(p.requires_grad for p in loaded.parameters())


def test_half_precision_is_widened(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    loaded = load_hift(written(tmp_path, {k: v.half() for k, v in tensors.items()}), fold=False)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


def test_newer_spellings_of_published_names_are_understood(
    tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    def renamed(name: str) -> str:
        name = name.replace("weight_g", "parametrizations.weight.original0")
        return "generator." + name.replace("weight_v", "parametrizations.weight.original1")

    load_hift(written(tmp_path, {renamed(k): v for k, v in tensors.items()}, "hift.pt"))


def test_a_missing_name_is_named(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    del tensors["conv_post.bias"]
    with pytest.raises(WeightsError, match=r"hift\.safetensors: conv_post\.bias is missing"):
        load_hift(written(tmp_path, tensors))


def test_a_wrong_shape_is_named(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    tensors["conv_pre.bias"] = torch.zeros(3)
    with pytest.raises(WeightsError, match=r"conv_pre\.bias has shape \(3,\), expected \(64,\)"):
        load_hift(written(tmp_path, tensors))


def test_a_name_too_many_is_named(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    tensors["extra"] = torch.zeros(1)
    with pytest.raises(WeightsError, match="extra is not part"):
        load_hift(written(tmp_path, tensors))


def test_values_that_are_not_finite_are_refused(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    tensors["conv_pre.bias"][0] = float("nan")
    with pytest.raises(WeightsError, match="not finite"):
        load_hift(written(tmp_path, tensors))


@pytest.mark.parametrize("name", ["hift.safetensors", "hift.pt"])
def test_a_truncated_file_is_refused(tmp_path: Path, tensors: dict[str, Tensor], name: str) -> None:
    path = written(tmp_path, tensors, name)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="hift"):
        load_hift(path)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hift.pt"
    torch.save({"a": Path("x")}, path)
    with pytest.raises(WeightsError, match="cannot be read"):
        load_hift(path)


def test_what_is_not_there_is_said(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        load_hift(tmp_path / "hift.pt")
    path = written(tmp_path, tensors)
    path.with_suffix(".json").unlink()
    with pytest.raises(WeightsError, match=r"hift\.json is missing"):
        load_hift(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base_channels", "128"),
        ("base_channels", 130),
        ("base_channels", 1 << 40),
        ("upsample_rates", [8, 0]),
        ("upsample_kernel_sizes", [16]),
        ("resblock_kernel_sizes", [3, 4, 11]),
        ("resblock_dilation_sizes", [1, 3]),
        ("istft_hop_len", 0),
        ("audio_limit", -1.0),
        ("surprise", 1),
    ],
)
def test_a_config_that_cannot_be_is_refused(field: str, value: object) -> None:
    with pytest.raises(WeightsError, match=field):
        hift_config({field: value}, "hift.json")
