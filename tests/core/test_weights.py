"""A weights folder is what its manifest says, or it is refused with the file's name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from step_audio.core.errors import WeightsError
from step_audio.core.vocab import Vocab
from step_audio.core.weights import PUBLISHED, Facts, Weights, open_weights, record, write_facts

FACTS = Facts(Vocab(audio_base=2048, heard_open=7), context=1536)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lm").mkdir()
    (tmp_path / "lm" / "model.safetensors").write_bytes(bytes(1000))
    write_facts(tmp_path, FACTS)
    record(tmp_path)
    return tmp_path


def opened(folder: Path) -> Weights:
    return open_weights(folder, "the shop")


def alter(folder: Path, file: str, change: Any) -> None:
    """Pass the JSON object in `file` through `change`, in place."""
    value = json.loads((folder / file).read_text())
    change(value)
    (folder / file).write_text(json.dumps(value))


def test_what_was_recorded_opens_and_verifies(folder: Path) -> None:
    weights = opened(folder)
    weights.verify()
    assert set(weights.files) == {"lm/model.safetensors", "facts.json"}
    assert weights.total_bytes == 1000 + (folder / "facts.json").stat().st_size
    assert weights.path("lm/model.safetensors") == folder / "lm" / "model.safetensors"
    assert weights.facts == FACTS


def test_recording_twice_changes_nothing(folder: Path) -> None:
    before = (folder / "manifest.json").read_bytes()
    record(folder)
    assert (folder / "manifest.json").read_bytes() == before


def test_without_facts_the_published_vocabulary_holds(folder: Path) -> None:
    (folder / "facts.json").unlink()
    assert record(folder).facts == PUBLISHED
    assert PUBLISHED.vocab == Vocab(65536, 1, 4, 3)


def test_missing_weights_say_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="to get them: the shop"):
        opened(tmp_path / "none")
    with pytest.raises(WeightsError, match=r"the shop.*step-audio record"):
        opened(tmp_path)


def test_an_empty_folder_is_not_recorded(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds no files"):
        record(tmp_path)


def test_a_file_cut_short_is_named(folder: Path) -> None:
    (folder / "lm" / "model.safetensors").write_bytes(bytes(999))
    with pytest.raises(WeightsError, match=r"model.safetensors has 999 bytes, not 1000"):
        opened(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "lm" / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model.safetensors is missing"):
        opened(folder)


def test_one_flipped_bit_is_found(folder: Path) -> None:
    (folder / "lm" / "model.safetensors").write_bytes(bytes(999) + b"\x01")
    with pytest.raises(WeightsError, match=r"model.safetensors was altered"):
        opened(folder).verify()


def test_a_file_that_is_not_listed_has_no_path(folder: Path) -> None:
    (folder / "extra").write_text("x")
    with pytest.raises(WeightsError, match="extra"):
        opened(folder).path("extra")


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "lm/../../x", "", "c:x", "a\\b"])
def test_a_manifest_cannot_lead_out_of_its_folder(folder: Path, name: str) -> None:
    entry = {"bytes": 1, "sha256": "0" * 64}
    alter(folder, "manifest.json", lambda manifest: manifest["files"].update({name: entry}))
    with pytest.raises(WeightsError, match="no path inside"):
        opened(folder)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "[" * 100000, '{"format": 2, "files": {"a": {}}}', '{"format": 1}']
)
def test_what_is_no_manifest_is_refused(folder: Path, content: str) -> None:
    (folder / "manifest.json").write_text(content)
    with pytest.raises(WeightsError, match=r"manifest\.json"):
        opened(folder)


@pytest.mark.parametrize(
    "entry", [None, {}, {"bytes": -1, "sha256": "0" * 64}, {"bytes": 1, "sha256": "0"}]
)
def test_an_entry_needs_size_and_hash(folder: Path, entry: object) -> None:
    alter(folder, "manifest.json", lambda manifest: manifest["files"].update({"x": entry}))
    with pytest.raises(WeightsError, match="x needs its bytes and sha256"):
        opened(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"context": "many"},
        {"context": 0},
        {"vocab": {"audio_base": -1}},
        {"vocab": {"bos": None}},
        {"vocab": {"bos": True}},
        {"vocab": {"other": 1}},
        {"more": 1},
    ],
)
def test_facts_of_another_shape_are_refused(folder: Path, change: dict[str, object]) -> None:
    alter(folder, "facts.json", lambda facts: facts.update(change))
    with pytest.raises(WeightsError, match=r"facts\.json"):
        record(folder)
