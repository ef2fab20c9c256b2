"""Folders understood from their headers: what they are, what they lack, what fits nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from step_audio.cli import main
from step_audio.core.errors import WeightsError
from step_audio.engine.sizes import PUBLISHED, Sizes
from step_audio.engine.step1 import Step1, Step1Config
from step_audio.engine.weights import load_step1, save_step1
from step_audio.published.extract import extract
from step_audio.published.headers import TensorFacts
from step_audio.published.inspect import inspect, language_model
from step_audio.published.mapping import map_step1, sizes_of
from tests.published.standins import repositories
from vocoder.flow_loading import load_flow

CONFIG = Step1Config(32, 64, 4, 2, 2, 6000)
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_attention_groups": 2,
    "num_hidden_layers": 2,
    "vocab_size": 6000,
}
NANO = Path(__file__).parents[2] / "step_audio/weights/nano"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    model = Step1(CONFIG)
    model.initialize(torch.Generator().manual_seed(1))
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def multimodal(
    folder: Path, state: dict[str, torch.Tensor], extra: dict[str, torch.Tensor] | None = None
) -> Path:
    """A checkpoint as `mmgpt_step1_v2` may look: the LM below a prefix, vision beside it."""
    folder.mkdir(exist_ok=True)
    tensors = {
        (f"language.{name}" if name.startswith("model.") else name): tensor
        for name, tensor in state.items()
    }
    tensors |= {
        "vision_model.layers.0.self_attn.q_proj.weight": torch.zeros(8, 8),
        "vision_model.layers.1.self_attn.q_proj.weight": torch.zeros(8, 8),
        "vit_projector.weight": torch.zeros(4, 4),
        **(extra or {}),
    }
    names = sorted(tensors)
    half = len(names) // 2
    save_file({n: tensors[n] for n in names[:half]}, folder / "model-00001.safetensors")
    save_file({n: tensors[n] for n in names[half:]}, folder / "model-00002.safetensors")
    shards = {n: f"model-0000{1 if at < half else 2}.safetensors" for at, n in enumerate(names)}
    index = {"weight_map": shards}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = {"model_type": "mmgpt_step1_v2", "text_config": SIZES, "vision_config": {"width": 8}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.model").write_bytes(b"pieces")
    return folder


def test_the_lm_is_found_below_its_prefix_and_vision_is_left_aside(
    tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    folder = multimodal(tmp_path / "aqaa", state)
    report = inspect(folder)
    assert report.usable
    assert "language model of type mmgpt_step1_v2" in report.is_a[0]
    assert [line.split(":")[0] for line in report.aside] == ["vision_model.layers", "vit_projector"]
    assert any("weights extract" in line for line in report.runs)
    found = language_model(folder)
    assert found.parameters == sum(tensor.numel() for tensor in state.values())
    assert found.names["model.norm.weight"] == "language.model.norm.weight"


def test_the_extracted_lm_is_the_same_model(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    folder, told = multimodal(tmp_path / "aqaa", state), list[int]()
    written = extract(folder, tmp_path / "lm", told.append)
    weights = load_step1(tmp_path / "lm")
    assert weights.config == CONFIG
    assert set(weights.tensors) == set(state)
    for name, tensor in weights.tensors.items():
        assert isinstance(tensor, torch.Tensor)
        assert torch.equal(tensor, state[name])
    assert sum(told) == written
    report = inspect(tmp_path / "lm")
    assert report.usable
    assert report.aside == []


@pytest.mark.parametrize(
    "name", ["language.model.layers.0.self_attn.rotary.inv_freq", "language.model.extra.weight"]
)
def test_a_tensor_of_the_lm_without_a_place_is_named(
    tmp_path: Path, state: dict[str, torch.Tensor], name: str
) -> None:
    folder = multimodal(tmp_path / "aqaa", state, {name: torch.zeros(3)})
    with pytest.raises(WeightsError, match=f"{name} .* has no place in a Step1"):
        inspect(folder)


def test_a_missing_tensor_and_a_wrong_shape_are_named(
    tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    lacking = {name: tensor for name, tensor in state.items() if "layers.1.mlp.up" not in name}
    with pytest.raises(WeightsError, match=r"no tensor for model\.layers\.1\.mlp\.up_proj"):
        inspect(multimodal(tmp_path / "a", lacking))
    wrong = state | {"model.norm.weight": torch.zeros(31)}
    with pytest.raises(WeightsError, match=r"norm\.weight has shape \(31,\)"):
        inspect(multimodal(tmp_path / "b", wrong))


def test_two_stacks_that_fit_are_not_guessed_between(
    tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    twin = {f"other.{name}": tensor for name, tensor in state.items() if "layers.0" in name}
    with pytest.raises(WeightsError, match="several stacks"):
        inspect(multimodal(tmp_path / "aqaa", state, twin))


def test_missing_shards_and_tokenizer_are_listed(
    tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    folder = multimodal(tmp_path / "aqaa", state)
    (folder / "model-00002.safetensors").unlink()
    (folder / "tokenizer.model").unlink()
    report = inspect(folder)
    assert not report.usable
    assert "1 shards, first model-00002.safetensors" in report.missing
    assert "would run" not in report.text()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "language model whose type its config.json does not name, no parameters"),
        ({"model_type": "step1"}, "language model of type step1, no parameters: a config alone"),
    ],
)
def test_a_config_alone_is_said_to_be_one(
    tmp_path: Path, config: dict[str, str], said: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    report = inspect(tmp_path)
    assert report.is_a[0].startswith(said)
    assert "*.safetensors" in report.missing
    assert "None" not in report.text()


def test_a_file_that_was_cut_short_is_named(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    folder = multimodal(tmp_path / "aqaa", state)
    shard = folder / "model-00002.safetensors"
    whole = shard.read_bytes()
    for length in (3, 100, len(whole) - 1):
        shard.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"model-00002\.safetensors is cut short"):
            inspect(folder)


def test_the_published_sizes_are_told_apart_from_vision_by_header_alone() -> None:
    sizes = PUBLISHED["step-audio-aqaa"]
    tensors = {
        f"lm.{name}": TensorFacts("x", "BF16", shape, 0, 0)
        for name, shape in sizes.tensor_shapes().items()
    }
    vision = TensorFacts("x", "BF16", (4_800_000, 1000), 0, 0)
    found = map_step1({**tensors, "vision.weight": vision}, sizes)
    assert found.parameters == pytest.approx(131.9e9, rel=0.001)
    assert found.aside == {"vision": 4_800_000_000}


def test_our_own_folders_are_known(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    assert inspect(NANO).usable
    save_step1(tmp_path, CONFIG, state, int8=True)
    assert "tokenizer.model" in inspect(tmp_path).missing[0]
    (tmp_path / "tokenizer.json").write_text("{}")
    assert inspect(tmp_path).runs[0].startswith("engine.kind local")


def test_sizes_come_from_one_place() -> None:
    assert sizes_of(SIZES) == Sizes(32, 64, 4, 2, 2, 6000)
    with pytest.raises(WeightsError, match="several sections"):
        sizes_of({"a": SIZES, "b": SIZES})
    with pytest.raises(WeightsError, match="no hidden_size"):
        sizes_of({})
    with pytest.raises(WeightsError, match="no positive number"):
        sizes_of(SIZES | {"vocab_size": True})


def test_the_command_reports_and_refuses(
    tmp_path: Path, state: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = multimodal(tmp_path / "aqaa", state)
    assert main(["weights", "inspect", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["usable"]
    assert main(["weights", "extract", str(folder), str(tmp_path / "lm")]) == 0
    assert main(["weights", "extract", str(folder), str(tmp_path / "lm")]) == 2
    assert "holds weights already" in capsys.readouterr().err
    assert main(["weights", "inspect", str(tmp_path / "nothing")]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["weights", "inspect", str(tmp_path / "empty")]) == 1


def test_editx_is_named_as_a_vocoder_that_is_not_supported_yet(tmp_path: Path) -> None:
    for name, content in repositories()["stepfun-ai/Step-Audio-EditX"].items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    report = inspect(tmp_path)
    assert not report.usable
    assert any(
        "CosyVoice 2 vocoder" in line and "not supported yet" in line for line in report.missing
    )
    with pytest.raises(WeightsError, match="not supported yet"):
        load_flow(tmp_path / "CosyVoice-300M-25Hz" / "flow.pt")


def test_the_published_tokenizer_is_whole_although_its_recogniser_lies_two_folders_deep(
    tmp_path: Path,
) -> None:
    for name, content in repositories()["stepfun-ai/Step-Audio-Tokenizer"].items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    report = inspect(tmp_path)
    assert (report.usable, report.missing) == (True, [])
    assert report.runs == ["as tokenizer/ of a weights folder, as it is"]
