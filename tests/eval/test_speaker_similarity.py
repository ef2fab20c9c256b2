"""The cosine of speaker vectors, on vectors measured of recordings (tests/golden)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from step_audio.core.errors import ShapeError, WeightsError
from step_audio.eval.speaker_similarity import GraphSpeakerEncoder, similarity
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


@pytest.mark.parametrize("rank", [2, 3])
def test_another_encoder_takes_samples_or_a_filter_bank(tmp_path: Path, rank: int) -> None:
    """Graphs that average over time: the last axis of a filter bank, the whole of samples."""
    onnx = pytest.importorskip("onnx", reason="needs the extra `train`")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    shape = ["b", "t"] if rank == 2 else ["b", "t", 80]
    axes = helper.make_tensor("axes", onnx.TensorProto.INT64, [1], [1])
    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)
    graph = helper.make_graph(
        [node],
        "mean",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, None)],
        [axes],
    )
    path = tmp_path / "mean.onnx"
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), str(path))
    pcm = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    assert GraphSpeakerEncoder(path).embed(pcm).shape == ((1,) if rank == 2 else (80,))


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no graph")
    with pytest.raises(WeightsError, match="no ONNX graph"):
        GraphSpeakerEncoder(tmp_path / "x.onnx")
