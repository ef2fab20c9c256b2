"""The cosine of speaker vectors, on vectors measured of recordings (tests/golden)."""

from __future__ import annotations

import numpy as np
import pytest

from step_audio.core.errors import ShapeError
from step_audio.eval.speaker_similarity import similarity
from tests.tokenizer import golden

VECTORS = golden.arrays(golden.SPEAKER / "data.safetensors")


def test_a_speaker_is_like_itself_at_any_loudness_and_less_like_another() -> None:
    one, other = VECTORS["en_1.embedding"], VECTORS["zh_3.embedding"]
    assert similarity(one, 3 * one) == pytest.approx(1.0)
    assert similarity(one, -one) == pytest.approx(-1.0)
    assert similarity(one, other) == pytest.approx(similarity(other, one))
    assert similarity(one, other) < 1.0


@pytest.mark.parametrize("wrong", [np.zeros(192, np.float32), np.ones(3, np.float32)])
def test_what_has_no_direction_or_another_size_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ShapeError):
        similarity(VECTORS["en_1.embedding"], wrong.astype(np.float32))
