"""What the speaker encoder refuses; its numbers: tests/golden_checks."""

from __future__ import annotations

import numpy as np
import pytest

from step_audio.core.errors import AudioError, WeightsError
from step_audio.voices.speaker_encoder import SpeakerEncoder
from tests.tokenizer import golden

ENCODER = SpeakerEncoder(golden.SPEAKER / "campplus.onnx")


def test_too_little_sound_is_refused() -> None:
    with pytest.raises(AudioError, match="too few"):
        ENCODER.embed(np.zeros(399, dtype=np.float32))


def test_a_graph_of_another_kind_is_refused() -> None:
    with pytest.raises(WeightsError, match="expected"):
        SpeakerEncoder(golden.SEMANTIC / "speech_tokenizer_v1.onnx")
