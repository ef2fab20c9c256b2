"""ONNX graphs as published: opened once, shared by all streams, their inputs checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from step_audio.core.errors import WeightsError

Fact = tuple[str, tuple[int | None, ...]]
"""Type and shape of an input; None is any length."""


class Graph:
    """One ONNX graph.

    Args:
        path: the file.
        inputs: what it must take, in order; names differ between exports and do not matter.
        threads: threads within one run. Streams run side by side, so one is best on few cores.

    Raises:
        WeightsError: missing, not an ONNX graph, or with other inputs.
    """

    def __init__(self, path: Path, inputs: tuple[Fact, ...], threads: int = 1) -> None:
        import onnxruntime as ort  # noqa: PLC0415 - half a second that only its users pay

        if not path.is_file():
            raise WeightsError(f"{path} does not exist; fetch or train the weights first")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors share no other base
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise WeightsError(f"{path} is not an ONNX graph that can run: {reason}") from error
        self._path = path
        self._names = [node.name for node in self._session.get_inputs()]
        found = [(node.type, node.shape) for node in self._session.get_inputs()]
        if len(found) != len(inputs) or not all(map(_fits, found, inputs)):
            raise WeightsError(f"{path} takes {found}, expected {list(inputs)}")

    def run(self, *values: NDArray[Any]) -> NDArray[Any]:
        """Return the first output, flattened. Raises WeightsError: the graph fails on it."""
        return np.asarray(self.outputs(*values)[0]).reshape(-1)

    def outputs(self, *values: NDArray[Any]) -> list[NDArray[Any]]:
        """Return all outputs. Raises WeightsError: the graph fails on it."""
        try:
            found: list[NDArray[Any]] = self._session.run(
                None, dict(zip(self._names, values, strict=True))
            )
        except Exception as error:  # onnxruntime's errors share no other base
            raise WeightsError(f"{self._path} failed: {str(error).splitlines()[0]}") from error
        return found


def _fits(found: tuple[str, list[Any]], wanted: Fact) -> bool:
    kind, shape = found
    return (
        kind == wanted[0]
        and len(shape) == len(wanted[1])
        and all(
            length is None or not isinstance(size, int) or size == length
            for size, length in zip(shape, wanted[1], strict=True)
        )
    )
