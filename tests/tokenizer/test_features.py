"""The laws of the front ends' streams; their numbers are checked in tests/golden_checks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from step_audio.core.errors import ShapeError
from tests import laws
from tests.tokenizer import golden
from tokenizer.features import StackedFeatures, log_mel, log_mel_128, offline_lfr
from tokenizer.weight_files import read_cmvn

DATA = golden.arrays(golden.LINGUISTIC / "data.safetensors")
CMVN = read_cmvn(golden.LINGUISTIC / "am.mvn")
CLIP = DATA["en_1.wav16k"][:20080]


@pytest.mark.parametrize("clip", golden.LINGUISTIC_CLIPS)
def test_features_of_a_whole_clip_equal_the_streams(clip: str) -> None:
    whole = CMVN(offline_lfr(torch.from_numpy(DATA[f"{clip}.wav16k"])).numpy())
    streamed = laws.run(StackedFeatures(CMVN), [DATA[f"{clip}.wav16k"]])
    np.testing.assert_allclose(whole, streamed, rtol=0, atol=1e-4)


@given(cuts=st.lists(st.integers(0, len(CLIP)), max_size=8))
@settings(deadline=None, max_examples=20)
def test_features_do_not_care_how_their_input_is_cut(cuts: list[int]) -> None:
    laws.chunking_is_invisible(lambda: StackedFeatures(CMVN), CLIP, cuts)
    laws.chunking_is_invisible(lambda: StackedFeatures(CMVN, dither=1.0), CLIP, cuts)


def test_feature_streams_are_isolated() -> None:
    laws.streams_are_isolated(lambda: StackedFeatures(CMVN), CLIP, CLIP[::-1].copy())


def test_flush_of_features_is_final_and_total() -> None:
    laws.flush_is_final_and_total(lambda: StackedFeatures(CMVN), CLIP, expected=21)
    # One sample less, and the last stack would lack more than the reference fills in.
    laws.flush_is_final_and_total(lambda: StackedFeatures(CMVN), CLIP[:-1], expected=20)
    laws.flush_is_final_and_total(lambda: StackedFeatures(CMVN), CLIP[:0], expected=0)


def test_log_mel_is_the_same_as_a_tensor() -> None:
    tensor = log_mel_128(torch.from_numpy(CLIP))
    np.testing.assert_array_equal(tensor.numpy(), log_mel(CLIP))


def test_log_mel_of_too_little_is_refused() -> None:
    with pytest.raises(ShapeError, match="too few"):
        log_mel(CLIP[:200])
