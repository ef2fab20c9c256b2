"""How alike two speakers sound: the cosine of their vectors, as recognisers compare them.

The vectors are CAM++'s (`step_audio.voices.speaker_encoder`) where the weights have it, else those
of a packaged encoder (`packaged_encoder`). Papers give figures of ERes2Net (the first report) and
of WavLM (SEED-TTS): `GraphSpeakerEncoder` takes theirs, as ONNX. Figures of different encoders do
not compare.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from step_audio.core.errors import ShapeError, WeightsError
from step_audio.core.types import Pcm

RATE_HZ = 16_000


class GraphSpeakerEncoder:
    """A speaker encoder as one ONNX graph of one input: a filter bank (1, T, 80), as CAM++ and
    ERes2Net take, or samples at 16 kHz (1, T), as WavLM does.

    Raises:
        WeightsError: the file is missing or not such a graph.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        import onnxruntime  # noqa: PLC0415 - half a second

        from tokenizer.fbank import Fbank  # noqa: PLC0415 - torch

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors share no other base
            raise WeightsError(f"{path} is no ONNX graph: {str(error).splitlines()[0]}") from None
        self._inputs = self._session.get_inputs()
        if len(self._inputs) != 1 or len(self._inputs[0].shape) not in (2, 3):
            raise WeightsError(f"{path} takes neither a filter bank (1, T, 80) nor samples (1, T)")
        self._path, self._fbank = path, Fbank("povey")

    def embed(self, pcm: Pcm) -> NDArray[np.float32]:
        """Return the vector of a clip at 16 kHz. Raises WeightsError: the graph fails on it."""
        value: NDArray[np.float32] = pcm[None]
        if len(self._inputs[0].shape) == 3:
            rows = self._fbank(pcm)
            value = (rows - rows.mean(axis=0, keepdims=True))[None]
        try:
            (vector, *_) = self._session.run(None, {self._inputs[0].name: value.astype(np.float32)})
        except Exception as error:
            raise WeightsError(f"{self._path} failed: {str(error).splitlines()[0]}") from None
        return np.asarray(vector, dtype=np.float32).reshape(-1)


def similarity(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the cosine between two speaker vectors, (N,) each, in [-1, 1].

    Raises:
        ShapeError: of different sizes, or one without a direction.
    """
    if first.shape != second.shape or first.ndim != 1:
        raise ShapeError(f"speaker vectors {first.shape} and {second.shape} do not compare")
    norms = float(np.linalg.norm(first)) * float(np.linalg.norm(second))
    if not np.isfinite(norms) or norms == 0.0:
        raise ShapeError("a speaker vector without a direction: was there any sound?")
    return float(np.dot(first.astype(np.float64), second.astype(np.float64))) / norms
