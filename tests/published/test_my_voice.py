"""The worked example with a model of Step-Audio-TTS-3B's form: recordings, adapters, speech.

The weights are random, so that no likeness is worth measuring: it is the road that is tested.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from safetensors.torch import load_file

from step_audio.core.audio import read_audio
from step_audio.core.config import load_profile, raw_profile
from step_audio.core.resampling import resample
from tests.published.conftest import Download
from tests.tokenizer.golden import GOLDEN

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TEXTS = ("it is noon in paris", "hello user", "what is the time", "repeat it", "hello paris")


def record(folder: Path) -> Path:
    """Write recordings of more than 3 s, each other than the others, with their words."""
    folder.mkdir()
    clips = [read_audio(GOLDEN / "audio" / f"{name}.wav") for name in ("en_1", "en_5", "en_1")]
    parts = [resample(pcm, rate_hz, 16_000) for pcm, rate_hz in clips]
    for number, text in enumerate(TEXTS):
        pcm = np.concatenate([np.roll(part, 400 * number) for part in parts])
        soundfile.write(folder / f"{number}.wav", pcm, 16_000)
        (folder / f"{number}.txt").write_text(f"{text}\n", encoding="utf-8")
    return folder


def test_recordings_become_a_model_of_the_published_form_that_speaks(
    downloaded: Download, tmp_path: Path
) -> None:
    weights = downloaded("tts-3b")
    base = tmp_path / "base.yaml"
    raw = raw_profile("tts-3b") | {"weights": str(weights)}
    base.write_text(yaml.safe_dump(raw, allow_unicode=True), encoding="utf-8")
    out = tmp_path / "o"
    script = [str(ROOT / "docs/examples/my_voice.py"), str(record(tmp_path / "r")), str(out)]
    flags = ["--base", str(base), "--layout", "published", "--ear", "none"]
    done = subprocess.run(
        [sys.executable, *script, *flags, "--steps", "2", "--lora", "2"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1])["sentences"] == 3
    for name in ("before", "voice-added", "tuned"):
        files = sorted((out / "said" / name).glob("*.wav"))
        assert len(files) == 3
        assert all(soundfile.info(file).duration > 0.5 for file in files)
    # The base's server has other weights than the tuned profile: both speak in this process.
    tuned = load_profile(str(out / "tuned.yaml"))
    assert tuned.engine.kind == "local"
    old, new = (load_file(next((x / "lm").glob("*.safetensors"))) for x in (weights, tuned.weights))
    changed = {name for name, tensor in old.items() if not tensor.equal(new[name])}
    assert changed
    assert all("_proj" in name for name in changed)
