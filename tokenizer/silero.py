"""Who is speaking now, by a small network: Silero VAD, whose weights come with its wheel.

The graph runs on onnxruntime; the wheel's own Python code, which imports torch, is not used.
Source: silero-vad 6 (MIT), 16 kHz, frames of 512 samples with the 64 before them.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np

from step_audio.core.errors import WeightsError
from step_audio.core.ports import Stage
from step_audio.core.types import Pcm, SpeechEvent
from tokenizer.graph import Fact, Graph
from tokenizer.preprocess import RATE_HZ
from tokenizer.turns import Thresholds, TurnStream, TurnTiming

FRAME_SAMPLES: Final = 512
FRAME_MS: Final = 32
THRESHOLDS: Final = Thresholds(begin=0.5, go_on=0.35)
"""Probabilities, those that its authors recommend."""

_CONTEXT = 64
_STATE = (2, 1, 128)
_INPUTS: tuple[Fact, ...] = (
    ("tensor(float)", (None, None)),
    ("tensor(float)", (2, None, 128)),
    ("tensor(int64)", ()),
)


def graph_path() -> Path:
    """Return the graph in the installed wheel, which is not imported.

    Raises:
        WeightsError: it is not installed.
    """
    spec = find_spec("silero_vad")
    places = [] if spec is None else spec.submodule_search_locations or []
    for place in places:
        return Path(place) / "data" / "silero_vad.onnx"
    raise WeightsError(
        "silero-vad is not installed; install requirements/run.lock, or set turn_detector.kind "
        "to energy"
    )


class SileroTurnDetector:
    """A `TurnDetector`. Shared and immutable; `open` starts a stream.

    Args:
        timing: what to wait for.
        path: the graph; that of the installed wheel by default.
        thresholds: probabilities above which speech begins, and goes on.

    Raises:
        WeightsError: the graph is missing or of another kind.
    """

    def __init__(
        self,
        timing: TurnTiming | None = None,
        path: Path | None = None,
        thresholds: Thresholds = THRESHOLDS,
    ) -> None:
        self._timing, self._thresholds = timing or TurnTiming(), thresholds
        self._graph = Graph(path or graph_path(), _INPUTS)

    @property
    def sample_rate_hz(self) -> int:
        """16000."""
        return RATE_HZ

    def open(
        self, *, silence_ms: int | None = None, threshold: float | None = None
    ) -> Stage[Pcm, SpeechEvent]:
        """Return a stream of its own state; speech goes on at .15 less than `threshold`."""
        score = _SpeechProbability(self._graph).score
        thresholds = self._thresholds
        if threshold is not None:
            thresholds = Thresholds(begin=threshold, go_on=max(0.01, threshold - 0.15))
        timing = self._timing.ending_after(silence_ms)
        return TurnStream(score, FRAME_SAMPLES, FRAME_MS, thresholds, timing)


class _SpeechProbability:
    """Score of one stream's frames, in [0, 1]; carries the network's state."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._before = np.zeros(_CONTEXT, dtype=np.float32)
        self._state = np.zeros(_STATE, dtype=np.float32)
        self._rate_hz = np.array(RATE_HZ, dtype=np.int64)

    def score(self, frame: Pcm) -> float:
        heard = np.concatenate((self._before, frame))[None]
        probability, self._state = self._graph.outputs(heard, self._state, self._rate_hz)
        self._before = frame[-_CONTEXT:]
        return float(probability.item())
