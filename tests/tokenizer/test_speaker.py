"""Speaker vectors against the reference's."""

from __future__ import annotations

import numpy as np
import pytest

from step_audio.core.errors import AudioError, WeightsError
from tests.tokenizer import golden
from tokenizer.speaker import SpeakerEncoder

DATA = golden.arrays(golden.SPEAKER / "data.safetensors")
ENCODER = SpeakerEncoder(golden.SPEAKER / "campplus.onnx")


@pytest.mark.parametrize("clip", golden.CLIPS)
def test_speaker_vector_equals_the_reference(clip: str) -> None:
    pcm = DATA[f"{clip}.wav16k"]
    want = DATA[f"{clip}.fbank_meannorm"]
    np.testing.assert_allclose(ENCODER.features(pcm), want, rtol=0, atol=2e-3)
    vector = ENCODER.embed(pcm)
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector, DATA[f"{clip}.embedding"], rtol=0, atol=1e-4)


def test_too_little_sound_is_refused() -> None:
    with pytest.raises(AudioError, match="too few"):
        ENCODER.embed(np.zeros(399, dtype=np.float32))


def test_a_graph_of_another_kind_is_refused() -> None:
    with pytest.raises(WeightsError, match="expected"):
        SpeakerEncoder(golden.SEMANTIC / "speech_tokenizer_v1.onnx")
