"""The packaged speaker encoder: its file, its vectors, and what `voices add` says by it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from step_audio.cli import main
from step_audio.core.audio import read_audio
from step_audio.core.errors import AudioError, WeightsError
from step_audio.core.resampling import resample
from step_audio.core.types import Pcm
from step_audio.eval.packaged_encoder import (
    RATE_HZ,
    PackagedSpeakerEncoder,
    packaged_weights,
)
from step_audio.eval.speaker_similarity import similarity
from tests.tokenizer.golden import GOLDEN

FILE = packaged_weights()
SAMPLES = Path(__file__).parents[2] / "web" / "samples"
EXAMPLE = str(GOLDEN / "audio" / "en_2.wav")
ADD = ["voices", "add", "Anna", EXAMPLE, "--text", "some words", "--consent", "a test"]
needs_file = pytest.mark.skipif(
    FILE is None, reason="needs requirements/similarity.lock: make test-published installs it"
)


@pytest.fixture(scope="module")
def encoder() -> PackagedSpeakerEncoder:
    assert FILE is not None
    return PackagedSpeakerEncoder(FILE)


def sound(path: Path) -> Pcm:
    return resample(*read_audio(path), RATE_HZ)


@needs_file
def test_two_sentences_of_a_speaker_are_more_alike_than_two_speakers(
    encoder: PackagedSpeakerEncoder,
) -> None:
    legs, total, capital = (
        encoder.embed(sound(SAMPLES / f"{name}.mp3")) for name in ("legs", "sum", "capital")
    )
    assert similarity(legs, total) > 0.85
    assert similarity(legs, capital) < 0.65


@needs_file
def test_what_is_no_speech_of_one_channel_is_refused(encoder: PackagedSpeakerEncoder) -> None:
    for wrong in (np.zeros(16000), np.zeros((2, 16000)), np.full(16000, np.nan), np.ones(100)):
        with pytest.raises(AudioError):
            encoder.embed(wrong.astype(np.float32))


def test_another_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pretrained.pt"
    path.write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(WeightsError, match="is not the encoder"):
        PackagedSpeakerEncoder(path)
    with pytest.raises(WeightsError, match="cannot read"):
        PackagedSpeakerEncoder(tmp_path / "none.pt")


@needs_file
@pytest.mark.slow
def test_a_voice_that_nano_gets_is_compared_with_its_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STEP_AUDIO__VOICE_FOLDER", str(tmp_path))
    assert main(ADD) == 0
    told = capsys.readouterr().out
    assert "like its example, the same by rms" in told
    assert "measured by Resemblyzer" in told


def test_without_any_encoder_the_way_to_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STEP_AUDIO__VOICE_FOLDER", str(tmp_path))
    monkeypatch.setattr("step_audio.eval.packaged_encoder.packaged_weights", lambda: None)
    assert main(ADD) == 0
    assert "no speaker encoder; one comes with `pip install" in capsys.readouterr().out
