"""Published weights that were downloaded to this machine: whole, loaded, and heard.

Left out where a profile's weights are not there: `step-audio weights download PROFILE`.
"""

from __future__ import annotations

import numpy as np
import pytest

from step_audio.cli import main
from step_audio.core.audio import read_audio
from step_audio.core.config import load_profile
from step_audio.core.errors import StepAudioError
from step_audio.core.resampling import resample
from step_audio.core.types import TokenGroup
from step_audio.core.weights import open_weights
from step_audio.runtime import Runtime
from tests.golden_checks.__main__ import DEFAULT
from vocoder.grid import GROUP_SAMPLES

pytestmark = [pytest.mark.weights, pytest.mark.slow, pytest.mark.timeout(1800)]

PROFILES = ("tts-3b", "chat-130b", "aqaa-130b")


@pytest.fixture(params=PROFILES)
def profile(request: pytest.FixtureRequest) -> str:
    """Return a profile whose weights are on this machine."""
    name: str = request.param
    loaded = load_profile(name)
    try:
        open_weights(loaded.weights, loaded.origin)
    except StepAudioError:
        pytest.skip(f"needs published weights: step-audio weights download {name}")
    return name


def test_every_file_has_the_hash_of_its_manifest(profile: str) -> None:
    assert main(["check", "--profile", profile]) == 0


def test_a_recorded_sentence_becomes_tokens_and_sound(profile: str) -> None:
    services = Runtime(load_profile(profile)).services()
    sound, rate_hz = read_audio(DEFAULT / "audio" / "en_1.wav")
    assert services.audio_tokenizer is not None
    stream = services.audio_tokenizer.open()
    pcm = resample(sound, rate_hz, 16_000)
    groups: list[TokenGroup] = [*stream.push(pcm), *stream.flush()]
    assert len(groups) == pytest.approx(len(pcm) / 16_000 / 0.12, abs=3)
    voice = services.voices.get(services.default_voice)
    spoken = services.vocoder.open(voice)
    pieces = [piece for group in groups for piece in spoken.push(group)]
    said = np.concatenate([*pieces, *spoken.flush()])
    assert len(said) == len(groups) * GROUP_SAMPLES
    assert np.isfinite(said).all()
    # Speech, not silence or noise at full scale.
    assert 0.005 < float(np.sqrt(np.mean(said**2))) < 0.5
