"""Both layouts load to the same tokenizer; files that are not what they claim are refused."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from step_audio.core.errors import WeightsError
from tests.tokenizer import golden
from tokenizer.loading import convert, load_tokenizer
from tokenizer.published import RECOGNISER
from tokenizer.stream import DualCodebookTokenizer

CLIP = golden.sound("en_5")
NAME = "encoder.encoders0.0.self_attn.linear_q_k_v.weight"


@pytest.fixture(scope="module")
def converted(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("converted") / "tokenizer"
    convert(published, out)
    return out


@pytest.fixture
def own(converted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(converted, tmp_path / "own"))


@pytest.fixture
def hub(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "hub"))


def test_converted_weights_make_the_same_groups(
    audio_tokenizer: DualCodebookTokenizer, converted: Path
) -> None:
    assert load_tokenizer(converted).encode(CLIP) == audio_tokenizer.encode(CLIP)
    assert not any(k.startswith("decoder") for k in load_file(converted / "linguistic.safetensors"))


def test_the_folder_decides_how_streams_are_cut(own: Path) -> None:
    facts = {"semantic_new": 3, "semantic_left": 9, "semantic_right": 0, "level_floor": 0.01}
    (own / "tokenizer.json").write_text(json.dumps(facts))
    stage = load_tokenizer(own).open()
    assert [len(list(stage.push(CLIP[at : at + 3840]))) for at in (0, 3840)] == [2, 2]


def test_half_precision_is_loaded_as_float32(published: Path, tmp_path: Path) -> None:
    convert(published, tmp_path, dtype=torch.float16)
    assert len(load_tokenizer(tmp_path).encode(CLIP)) == 14


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def garbage(path: Path) -> None:
    path.write_bytes(b"\x80\x02garbage" * 40)


def edit_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)

    return edit


def text(old: str, new: str) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        content = path.read_text()
        assert old in content
        path.write_text(content.replace(old, new, 1))

    return edit


def array(value: Any) -> Callable[[Path], None]:
    return lambda path: np.save(path, value, allow_pickle=True)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("linguistic.safetensors", truncate, "cannot be read as weights"),
        ("linguistic.safetensors", garbage, "cannot be read as weights"),
        ("linguistic.safetensors", edit_tensors(lambda t: t.pop(NAME)), f"{NAME} is missing"),
        (
            "linguistic.safetensors",
            edit_tensors(lambda t: t.update({NAME: torch.zeros(192, 559)})),
            rf"{NAME} has shape \(192, 559\), expected \(192, 560\)",
        ),
        (
            "linguistic.safetensors",
            edit_tensors(lambda t: t.update({"encoder.extra": torch.zeros(1)})),
            "encoder.extra is not part",
        ),
        ("linguistic.safetensors", edit_tensors(lambda t: t[NAME].fill_(torch.nan)), "not finite"),
        ("linguistic.json", garbage, "is not JSON"),
        ("linguistic.json", text('"num_blocks": 4', '"num_blocks": 5'), "is missing"),
        ("linguistic.json", text('"num_blocks": 4', '"num_blocks": 100000000'), "no model"),
        ("linguistic.json", text('"num_blocks": 4', '"num_blocks": -4'), "positive"),
        ("linguistic.json", text('"num_blocks": 4', '"num_blocks": "4"'), "num_blocks is '4'"),
        ("linguistic.json", text('"num_blocks"', '"blocks"'), "blocks is 4; known are"),
        ("am.mvn", text("<Rescale>", "<Scale>"), r"0,\), expected \(560,\)"),
        ("am.mvn", text("0.123894", "nan"), "not all is numbers after <Rescale>"),
        ("am.mvn", text("0.123894", "x"), "not all is numbers after <Rescale>"),
        ("am.mvn", text("0.123894", ""), r"559,\), expected \(560,\)"),
        ("am.mvn", garbage, "is not text"),
        ("linguistic_tokenizer.npy", truncate, "is not an array"),
        ("linguistic_tokenizer.npy", garbage, "is not an array"),
        ("linguistic_tokenizer.npy", array(np.zeros((1024, 63))), r"expected floats of shape"),
        ("linguistic_tokenizer.npy", array(np.array([print])), "is not an array"),
        ("linguistic_tokenizer.npy", array(np.full((1024, 64), np.inf)), "not finite"),
        ("speech_tokenizer_v1.onnx", truncate, "is not an ONNX graph"),
        ("speech_tokenizer_v1.onnx", garbage, "is not an ONNX graph"),
        (
            "speech_tokenizer_v1.onnx",
            lambda path: shutil.copy(golden.SPEAKER / "campplus.onnx", path),
            "takes .* expected",
        ),
        ("tokenizer.json", lambda path: path.write_text('{"level_floor": 0}'), "level_floor"),
        ("tokenizer.json", lambda path: path.write_text('{"semantic_left": 0}'), "left"),
        ("tokenizer.json", lambda path: path.write_text('{"windows": 3}'), "windows is 3"),
    ],
)
def test_a_damaged_file_is_named(
    own: Path, file: str, damage: Callable[[Path], Any], message: str
) -> None:
    damage(own / file)
    with pytest.raises(WeightsError, match=message) as caught:
        load_tokenizer(own)
    assert file.split(".", maxsplit=1)[0] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "file",
    ["linguistic.json", "am.mvn", "linguistic_tokenizer.npy", "speech_tokenizer_v1.onnx"],
)
def test_a_missing_file_is_named(own: Path, file: str) -> None:
    (own / file).unlink()
    with pytest.raises(WeightsError, match=file):
        load_tokenizer(own)


def test_no_weights_at_all_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="fetch or train"):
        load_tokenizer(tmp_path)
    with pytest.raises(WeightsError, match="fetch or train"):
        load_tokenizer(tmp_path / "missing")


class Attack:
    """Unpickled without restriction, it writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.target}",))


@pytest.mark.parametrize("dump", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))])
def test_code_in_a_checkpoint_is_not_run(
    hub: Path, tmp_path: Path, dump: Callable[[Any, Path], None]
) -> None:
    dump({"encoder.x": Attack(tmp_path / "ran")}, hub / RECOGNISER / "model.pt")
    with pytest.raises(WeightsError, match=r"model\.pt"):
        load_tokenizer(hub)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("model.pt", truncate, "cannot be read as weights"),
        ("model.pt", garbage, "cannot be read as weights"),
        ("model.pt", lambda path: torch.save([1], path), "not a state dict"),
        ("model.pt", lambda path: torch.save({}, path), "is missing"),
        ("config.yaml", text("SANMEncoderChunkOpt", "SANMEncoder"), "does not describe"),
        ("config.yaml", text('"lfr_n": 6', '"lfr_n": 4'), "frontend_conf.lfr_n is 4"),
        ("config.yaml", text('"attention_heads": 4', '"attention_heads": 3'), "do not divide"),
        ("config.yaml", text('"num_blocks"', '"blocks"'), "lacks num_blocks"),
        ("config.yaml", lambda path: path.write_text("!!python/object:os.system {}"), "not YAML"),
        ("config.yaml", lambda path: path.write_text("[" * 5000), "not YAML"),
        ("am.mvn", Path.unlink, "cannot read"),
    ],
)
def test_a_damaged_download_is_named(
    hub: Path, file: str, damage: Callable[[Path], Any], message: str
) -> None:
    damage(hub / RECOGNISER / file)
    with pytest.raises(WeightsError, match=message) as caught:
        load_tokenizer(hub)
    assert file in str(caught.value)


def test_nothing_is_written_from_a_download_that_does_not_fit(hub: Path, tmp_path: Path) -> None:
    truncate(hub / "linguistic_tokenizer.npy")
    with pytest.raises(WeightsError):
        convert(hub, tmp_path / "out")
    assert not (tmp_path / "out").exists()
