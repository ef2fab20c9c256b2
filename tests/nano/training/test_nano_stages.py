"""Every stage of nano at smoke size, one after the other, into weights that the runtime serves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from safetensors.numpy import load_file

from step_audio.cli import main as step_audio
from step_audio.core.weights import open_weights
from step_audio.engine.weights import load_step1
from step_audio.nano.corpus import corpus
from step_audio.nano.training import flow, flow_data, hearing, hift, lm, lm_data, pack, tokenizers
from step_audio.nano.training.lm_embedding import semantic_digits
from tests.machine_voices import needs_machine_voices

pytestmark = needs_machine_voices


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All stages, from text to packed weights."""
    at = tmp_path_factory.mktemp("nano")
    corpus.main(["--out", f"{at}/speech", "--utterances", "40", "--shard", "40"])
    tokenizers.main(
        ["--speech", f"{at}/speech", "--out", f"{at}/tokenizers", "--smoke", "--steps", "4"]
    )
    heard = ["--speech", f"{at}/speech", "--tokenizers", f"{at}/tokenizers", "--smoke"]
    hearing.main([*heard, "--out", f"{at}/hearing", "--steps", "3"])
    made = f"{at}/hearing/export"
    lm_data.main(["--tokenizers", made, "--out", f"{at}/lm-data", "--shards", "1", "--shard", "12"])
    small = ["--width", "64", "--intermediate", "96", "--layers", "2", "--heads", "4"]
    lm.main(["--data", f"{at}/lm-data", "--out", f"{at}/lm", "--steps", "3", *small])
    flow_data.main(
        ["--tokenizers", made, "--out", f"{at}/flow-data", "--utterances", "8", "--shard", "8"]
    )
    flow.main(["--data", f"{at}/flow-data", "--out", f"{at}/flow", "--smoke"])
    hift.main(["--out", f"{at}/hift", "--smoke"])
    pack.main(["--trained", str(at), "--out", f"{at}/packed"])
    return at


@pytest.fixture
def profile(trained: Path, tmp_path: Path) -> Path:
    text = (Path(lm.__file__).parents[2] / "profiles" / "nano.yaml").read_text()
    path = tmp_path / "smoke.yaml"
    path.write_text(text.replace("../weights/nano", str(trained / "packed")))
    return path


def test_packed_weights_are_recorded_and_whole(trained: Path) -> None:
    weights = open_weights(trained / "packed", "here")
    weights.verify()
    assert weights.facts.vocab.audio_base == lm_data.TEXT_SIZE
    assert {name.split("/")[0] for name in weights.files} >= {
        "tokenizer",
        "lm",
        "vocoder",
        "voices",
    }


def test_packed_weights_serve_both_ends_of_the_pipe(profile: Path, tmp_path: Path) -> None:
    speech, groups, out = tmp_path / "in.wav", tmp_path / "groups.json", tmp_path / "out.wav"
    sf.write(speech, np.sin(np.arange(16_000) / 20), 16_000)
    assert step_audio(["check", "--profile", str(profile)]) == 0
    assert step_audio(["tokenize", str(speech), "-o", str(groups), "--profile", str(profile)]) == 0
    assert len(json.loads(groups.read_text())["groups"]) == 9  # 8.33 groups of 120 ms, padded
    assert step_audio(["vocode", str(groups), "-o", str(out), "--profile", str(profile)]) == 0
    assert sf.info(out).duration == pytest.approx(9 * 0.120, abs=1e-3)


def test_a_finished_stage_is_not_trained_again(trained: Path) -> None:
    before = (trained / "lm" / "log.jsonl").read_text()
    small = ["--width", "64", "--intermediate", "96", "--layers", "2", "--heads", "4"]
    lm.main(["--data", f"{trained}/lm-data", "--out", f"{trained}/lm", "--steps", "3", *small])
    assert (trained / "lm" / "log.jsonl").read_text() == before


def test_learning_to_hear_leaves_the_meaning_of_the_codes(trained: Path) -> None:
    before, after = trained / "tokenizers" / "export", trained / "hearing" / "export"
    for still in ("linguistic_tokenizer.npy", "am.mvn", "speech_tokenizer_v1.onnx"):
        assert (before / still).read_bytes() == (after / still).read_bytes()
    old, new = (load_file(folder / "linguistic.safetensors") for folder in (before, after))
    assert old.keys() == new.keys()
    assert any(not np.array_equal(old[name], new[name]) for name in old)


def test_training_goes_on_from_packed_weights(trained: Path, tmp_path: Path) -> None:
    packed, at = trained / "packed", tmp_path
    speech = ["--speech", f"{trained}/speech"]
    heard = [*speech, "--tokenizers", f"{packed}/tokenizer", "--smoke", "--heard", f"{at}/lm-data"]
    hearing.main([*heard, "--out", f"{at}/hearing", "--steps", "3", "--batch-seconds", "30"])
    assert list((at / "lm-data").glob("heard-*.safetensors"))
    made = ["--tokenizers", f"{packed}/tokenizer", "--from", str(packed), "--shards", "1"]
    lm_data.main([*made, *speech, "--out", f"{at}/lm-data"])
    tokenizer = "lm/tokenizer.json"
    assert (at / "lm-data/tokenizer.json").read_bytes() == (packed / tokenizer).read_bytes()
    # Without a step the LM is the packed one, to the rounding of its structured table.
    lm.main(
        ["--data", f"{at}/lm-data", "--out", f"{at}/lm", "--from", f"{packed}/lm", "--steps", "0"]
    )
    before, after = (
        load_step1(f).module().state_dict() for f in (packed / "lm", at / "lm" / "export")
    )
    for name, weight in before.items():
        assert torch.allclose(weight, after[name], atol=1e-4), name
    pack.main(["--trained", str(at), "--from", str(packed), "--out", f"{at}/packed"])
    new = open_weights(at / "packed", "here")
    new.verify()
    for same in ("vocoder/flow.safetensors", "voices/rms/embedding.npy", "facts.json"):
        assert (at / "packed" / same).read_bytes() == (packed / same).read_bytes()
    changed = "tokenizer/linguistic.safetensors"
    assert (at / "packed" / changed).read_bytes() != (packed / changed).read_bytes()


def test_semantic_digits_tell_all_codes_apart() -> None:
    digits = semantic_digits((4,) * 6)
    assert digits.shape == (4096, 24)
    assert len({tuple(row) for row in digits.int().tolist()}) == 4096
