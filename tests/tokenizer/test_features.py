"""Front ends against the reference's, and the laws of their stream."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from step_audio.core.errors import ShapeError
from tests import laws
from tests.tokenizer import golden
from tokenizer.fbank import Fbank
from tokenizer.features import StackedFeatures, log_mel, log_mel_128, offline_lfr, whisper_bank
from tokenizer.weight_files import read_cmvn

DATA = golden.arrays(golden.LINGUISTIC / "data.safetensors")
FRONT = golden.arrays(golden.LINGUISTIC / "frontend.safetensors")
CMVN = read_cmvn(golden.LINGUISTIC / "am.mvn")
CLIP = DATA["en_1.wav16k"][:20080]
EDGES = json.loads((golden.LINGUISTIC / "edge_lengths.json").read_text())["cases"]


@pytest.mark.parametrize("clip", golden.LINGUISTIC_CLIPS)
def test_fbank_equals_kaldi(clip: str) -> None:
    rows = Fbank("hamming", scale=32768.0)(DATA[f"{clip}.wav16k"])
    np.testing.assert_allclose(rows, FRONT[f"{clip}.fbank80"], rtol=0, atol=2e-3)


def test_dither_is_added_where_kaldi_adds_it() -> None:
    rows = Fbank("hamming", scale=32768.0)(FRONT["dither.wav"], FRONT["dither.noise"])
    np.testing.assert_allclose(rows, FRONT["dither.fbank80"], rtol=0, atol=2e-3)


@pytest.mark.parametrize("clip", golden.LINGUISTIC_CLIPS)
def test_stacked_features_equal_the_reference_chunk_by_chunk(clip: str) -> None:
    stage = StackedFeatures(CMVN)
    chunks = [*stage.push(DATA[f"{clip}.wav16k"]), *stage.flush()]
    assert [len(c) for c in chunks] == DATA[f"{clip}.chunk_frames"].tolist()
    np.testing.assert_allclose(np.concatenate(chunks), DATA[f"{clip}.feats"], rtol=0, atol=2e-3)


@pytest.mark.parametrize("clip", golden.LINGUISTIC_CLIPS)
def test_features_of_a_whole_clip_equal_the_streams(clip: str) -> None:
    whole = CMVN(offline_lfr(torch.from_numpy(DATA[f"{clip}.wav16k"])).numpy())
    np.testing.assert_allclose(whole, FRONT[f"{clip}.offline_feats"], rtol=0, atol=2e-3)
    streamed = laws.run(StackedFeatures(CMVN), [DATA[f"{clip}.wav16k"]])
    np.testing.assert_allclose(whole, streamed, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("samples", "want"), EDGES.items())
def test_short_ends_make_as_many_frames_as_in_the_reference(
    samples: str, want: dict[str, list[int]]
) -> None:
    stage = StackedFeatures(CMVN)
    chunks = [*stage.push(FRONT["edge.wav"][: int(samples)]), *stage.flush()]
    assert [len(c) for c in chunks] == want["chunk_frames"]


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


def test_whisper_filters_equal_the_published_ones() -> None:
    want = golden.arrays(golden.SEMANTIC / "mel_filters_128.safetensors")["mel_filters"]
    np.testing.assert_allclose(whisper_bank(), want, rtol=0, atol=1e-7)


@pytest.mark.parametrize("clip", golden.CLIPS)
def test_log_mel_equals_whisper(clip: str) -> None:
    want = golden.arrays(golden.SEMANTIC / "data.safetensors")[f"{clip}.logmel"]
    np.testing.assert_allclose(log_mel(golden.levelled(clip)), want, rtol=0, atol=1e-4)
    tensor = log_mel_128(torch.from_numpy(golden.levelled(clip)))
    np.testing.assert_allclose(tensor.numpy(), want, rtol=0, atol=1e-4)


def test_log_mel_of_too_little_is_refused() -> None:
    with pytest.raises(ShapeError, match="too few"):
        log_mel(CLIP[:200])
