"""The worked example, on a few sentences: recordings in, a profile that speaks and figures out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from step_audio.core.config import load_profile
from step_audio.data.manifest import read_utterances
from step_audio.data.voice_files import VoicesMissing
from step_audio.eval.packaged_encoder import packaged_weights

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def record(folder: Path, count: int) -> Path:
    """Write sentences of nano's world in a natural voice that nano never heard."""
    from step_audio.data.neural_voices import piper  # noqa: PLC0415 - needs its data

    folder.mkdir()
    for number in range(count):
        text = f"The capital of France is Paris, and {number} plus seven is {number + 7}."
        try:
            pcm, rate_hz = piper(text, rate=0.7)
        except VoicesMissing as error:
            pytest.skip(str(error))
        soundfile.write(folder / f"{number}.wav", pcm, rate_hz)
        (folder / f"{number}.txt").write_text(text + "\n", encoding="utf-8")
    return folder


def test_recordings_become_a_profile_that_speaks(tmp_path: Path) -> None:
    recordings = record(tmp_path / "recordings", 5)
    script = [str(ROOT / "docs" / "examples" / "my_voice.py"), str(recordings), str(tmp_path / "o")]
    done = subprocess.run(
        [sys.executable, *script, "--steps", "2", "--lora", "2", "--ear", "none"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["sentences"] == 3
    said = [sorted((tmp_path / "o" / "said").glob(f"{name}/*.wav")) for name in ("before", "tuned")]
    assert [len(files) for files in said] == [3, 3]
    if packaged_weights() is not None:
        # The timbre is the vocoder's: a voice made of one recording is nearer than the base's own.
        assert figures["voice added"]["similarity"] > figures["before"]["similarity"]
        assert -1 <= figures["tuned"]["similarity"] <= 1
    assert load_profile(str(tmp_path / "o" / "tuned.yaml")).model_name == "tuned"
    # What was held out was not learned from.
    learned = {utterance.text for utterance in read_utterances(tmp_path / "o" / "set")}
    assert len(learned) == 2
    held = (tmp_path / "o" / "texts" / "held.txt").read_text().splitlines()
    assert not learned & set(held)


def test_too_few_recordings_are_said(tmp_path: Path) -> None:
    script = str(ROOT / "docs" / "examples" / "my_voice.py")
    done = subprocess.run(
        [sys.executable, script, str(tmp_path), str(tmp_path / "o")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "needs at least four wav files with a .txt beside each" in done.stderr
