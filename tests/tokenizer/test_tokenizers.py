"""The published layout's codes, and the laws of both streams."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from step_audio.core.errors import ShapeError, WeightsError
from tests import laws
from tests.tokenizer import golden
from tokenizer.codebook import Codebook
from tokenizer.linguistic import LinguisticTokenizer
from tokenizer.loading import load_linguistic
from tokenizer.semantic import SemanticTokenizer, SemanticWindows

SPOKEN = golden.arrays(golden.LINGUISTIC / "data.safetensors")
GRAPH = golden.SEMANTIC / "speech_tokenizer_v1.onnx"
SMALL = SemanticTokenizer(GRAPH, SemanticWindows(new=3, left=2, right=1))
CLIP = golden.levelled("en_5")


@pytest.fixture(scope="module")
def linguistic(published: Path) -> LinguisticTokenizer:
    return load_linguistic(published)


@pytest.mark.parametrize("clip", golden.LINGUISTIC_CLIPS)
def test_linguistic_codes_equal_the_reference(linguistic: LinguisticTokenizer, clip: str) -> None:
    pcm, want = SPOKEN[f"{clip}.wav16k"], SPOKEN[f"{clip}.labels"].tolist()
    assert linguistic.encode(pcm).tolist() == want
    assert laws.run(linguistic.open(), [pcm]).tolist() == want


@given(cuts=st.lists(st.integers(0, len(CLIP)), max_size=8))
@settings(deadline=None, max_examples=10)
def test_linguistic_codes_do_not_care_how_the_sound_is_cut(
    linguistic: LinguisticTokenizer, cuts: list[int]
) -> None:
    laws.chunking_is_invisible(linguistic.open, CLIP, cuts)


def test_linguistic_streams_are_isolated(linguistic: LinguisticTokenizer) -> None:
    laws.streams_are_isolated(linguistic.open, CLIP, CLIP[::-1].copy())


def test_a_copied_stream_shares_the_model_and_not_the_state(
    linguistic: LinguisticTokenizer,
) -> None:
    stage, pcm = linguistic.open(), golden.sound("en_5")
    said = list(stage.push(pcm[:20_000]))
    memo: dict[int, object] = {}
    fork = copy.deepcopy(stage, memo)
    assert not any(isinstance(found, torch.nn.Module) for found in memo.values())
    list(fork.push(pcm[::-1].copy()))
    rest = [*stage.push(pcm[20_000:]), *stage.flush()]
    assert [*said, *rest] == laws.run(linguistic.open(), [pcm]).tolist()


def test_linguistic_flush_is_final_and_total(linguistic: LinguisticTokenizer) -> None:
    laws.flush_is_final_and_total(linguistic.open, CLIP[:1920], expected=2)
    laws.flush_is_final_and_total(linguistic.open, CLIP[:0], expected=0)


def test_the_nearest_centroid_wins_and_the_lower_of_equals() -> None:
    table = np.array([[0, 0], [3, 0], [3, 0]], dtype=np.float32)
    frames = np.array([[1, 0], [2, 0], [1.5, 0]], dtype=np.float32)
    assert Codebook(table).quantize(frames).tolist() == [0, 1, 0]
    with pytest.raises(ShapeError, match=r"expected \(T, 2\)"):
        Codebook(table).quantize(np.zeros((1, 3), dtype=np.float32))


@given(cuts=st.lists(st.integers(0, len(CLIP)), max_size=8))
@settings(deadline=None, max_examples=10)
def test_semantic_codes_do_not_care_how_the_sound_is_cut(cuts: list[int]) -> None:
    laws.chunking_is_invisible(SMALL.open, CLIP, cuts)


def test_semantic_streams_are_isolated() -> None:
    laws.streams_are_isolated(SMALL.open, CLIP, CLIP[::-1].copy())


@pytest.mark.parametrize("samples", [0, 479, 480, 640, 1919, 2560, 2561, 7680, 26145])
def test_a_semantic_stream_makes_as_many_codes_as_the_clip(samples: int) -> None:
    expected = len(SMALL.encode(CLIP[:samples]))
    laws.flush_is_final_and_total(SMALL.open, CLIP[:samples], expected)


@pytest.mark.parametrize("clip", golden.CLIPS)
def test_semantic_windows_with_context_mostly_agree_with_the_whole_clip(clip: str) -> None:
    # Not all codes: the range reaches down from the loudest frame so far, not of the whole clip.
    tokenizer = SemanticTokenizer(GRAPH)
    whole = tokenizer.encode(golden.levelled(clip))
    streamed = laws.run(tokenizer.open(), [golden.levelled(clip)])
    assert np.mean(streamed == whole) > 0.93


def test_a_quiet_window_is_heard_as_the_whole_clip_hears_it() -> None:
    tokenizer = SemanticTokenizer(GRAPH)
    t = np.arange(16000) / 16000
    loud = np.sin(2 * np.pi * 300 * t).astype(np.float32)
    hush = (1e-5 * np.sin(2 * np.pi * 3000 * np.arange(80000) / 16000)).astype(np.float32)
    pcm = np.concatenate((loud, hush))
    whole, streamed = tokenizer.encode(pcm), laws.run(tokenizer.open(), [pcm])
    np.testing.assert_array_equal(streamed[70:], whole[70:])


def test_impossible_windows_are_refused() -> None:
    for windows in ((0, 1, 1), (1, 0, 1), (1, 1, -1), (700, 50, 50)):
        with pytest.raises(ShapeError):
            SemanticWindows(*windows)


@pytest.mark.parametrize("codes", [[1, 2], [4096], [-1], []])
def test_a_graph_that_makes_other_codes_is_refused(tmp_path: Path, codes: list[int]) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto
    inputs = [
        helper.make_tensor_value_info("feats", kind.FLOAT, [1, 128, None]),
        helper.make_tensor_value_info("feats_length", kind.INT32, [1]),
    ]
    output = helper.make_tensor_value_info("indices", kind.INT32, [len(codes)])
    value = helper.make_tensor("value", kind.INT32, [len(codes)], codes)
    node = helper.make_node("Constant", [], ["indices"], value=value)
    model = helper.make_model(
        helper.make_graph([node], "constant", inputs, [output]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, str(tmp_path / "constant.onnx"))
    with pytest.raises(WeightsError, match=r"constant\.onnx made"):
        SemanticTokenizer(tmp_path / "constant.onnx").encode(CLIP[:640])
