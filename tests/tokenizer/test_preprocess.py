"""The causal level against its own law; the reference's is checked in tests/golden_checks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from step_audio.core.errors import AudioError
from tests import laws
from tests.tokenizer import golden
from tokenizer.preprocess import CausalLevel, check_pcm, normalise_level

CLIP = golden.sound("en_1")


@given(cuts=st.lists(st.integers(0, len(CLIP)), max_size=8))
@settings(deadline=None, max_examples=20)
def test_level_does_not_care_how_its_input_is_cut(cuts: list[int]) -> None:
    laws.chunking_is_invisible(CausalLevel, CLIP, cuts)


def test_level_streams_are_isolated() -> None:
    laws.streams_are_isolated(CausalLevel, CLIP, 0.1 * CLIP)


def test_level_gives_every_sample_once() -> None:
    laws.flush_is_final_and_total(CausalLevel, CLIP, expected=len(CLIP))


def test_level_never_clips_and_reaches_the_peak_of_a_whole_clip() -> None:
    out = laws.run(CausalLevel(), [CLIP])
    assert np.abs(out).max() <= 0.999 + 1e-6
    loudest = int(np.abs(CLIP).argmax())
    np.testing.assert_allclose(out[loudest:], normalise_level(CLIP)[loudest:], rtol=0, atol=1e-6)


def test_noise_before_speech_is_not_raised_to_full_scale() -> None:
    noise = np.full(3840, 0.001, dtype=np.float32)
    assert np.abs(laws.run(CausalLevel(floor=0.1), [noise])).max() < 0.011


@pytest.mark.parametrize(
    "pcm",
    [np.zeros((2, 2), np.float32), np.zeros(3, np.int16), np.array([0, np.nan], np.float32)],
)
def test_what_is_no_sound_is_refused(pcm: np.ndarray) -> None:
    with pytest.raises(AudioError):
        check_pcm(pcm)
