"""Voices come from a table; a folder of another shape is refused with its file's name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from step_audio.core.errors import VoiceNotFound, WeightsError
from step_audio.core.types import TokenGroup
from step_audio.core.weights import record
from step_audio.voices.folder import FolderVoices


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("slt", "rms"):
        (tmp_path / "voices" / name).mkdir(parents=True)
        np.save(tmp_path / "voices" / name / "embedding.npy", np.full(192, 0.5, np.float32))
    prompt = {"text": "hello", "groups": [[1, 2, 3, 4, 5]]}
    (tmp_path / "voices" / "slt" / "prompt.json").write_text(json.dumps(prompt))
    np.save(tmp_path / "voices" / "slt" / "prompt_mel.npy", np.zeros((7, 80), np.float32))
    return tmp_path


def test_every_listed_voice_is_there(folder: Path) -> None:
    voices = FolderVoices(record(folder))
    assert voices.names() == ("rms", "slt")
    assert voices.get("slt").prompt_text == "hello"
    assert voices.get("slt").prompt_groups == (TokenGroup((1, 2), (3, 4, 5)),)
    assert voices.get("slt").prompt_mel.shape == (7, 80)
    assert voices.get("rms").prompt_mel.shape == (0, 80)
    assert voices.get("rms").embedding.shape == (192,)


@pytest.mark.parametrize("name", ["", "SLT", "../voices/slt", "slt/../rms", "slt\0"])
def test_a_name_is_looked_up_and_never_a_path(folder: Path, name: str) -> None:
    with pytest.raises(VoiceNotFound, match="available: rms, slt"):
        FolderVoices(record(folder)).get(name)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(191, np.float32),
        np.zeros(192, np.float64),
        np.full(192, np.nan, np.float32),
        np.zeros((1, 192), np.float32),
    ],
)
def test_an_embedding_of_another_shape_is_refused(folder: Path, array: np.ndarray) -> None:
    np.save(folder / "voices" / "rms" / "embedding.npy", array)
    with pytest.raises(WeightsError, match=r"rms.embedding\.npy must be finite float32"):
        FolderVoices(record(folder))


def test_a_pickle_is_not_run(folder: Path) -> None:
    np.save(folder / "voices" / "rms" / "embedding.npy", np.array([print], dtype=object))
    with pytest.raises(WeightsError, match="is not an array"):
        FolderVoices(record(folder))


@pytest.mark.parametrize(
    "prompt",
    [
        {},
        {"text": 1, "groups": []},
        {"text": "", "groups": [[1, 2, 3, 4]]},
        {"text": "", "groups": [[1024, 2, 3, 4, 5]]},
        {"text": "", "groups": [[1, 2, 3, 4, 4096]]},
        {"text": "", "groups": [[True, 2, 3, 4, 5]]},
    ],
)
def test_a_prompt_of_another_shape_is_refused(folder: Path, prompt: dict[str, object]) -> None:
    (folder / "voices" / "slt" / "prompt.json").write_text(json.dumps(prompt))
    with pytest.raises(WeightsError, match=r"prompt\.json"):
        FolderVoices(record(folder))
