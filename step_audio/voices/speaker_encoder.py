"""Who speaks, as a vector: filter bank in, CAM++ graph, (192,) out.

The sound is neither trimmed nor levelled. Source: 3D-Speaker CAM++, arXiv:2303.00332, as
CosyVoice uses it (`campplus.onnx`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from step_audio.core.errors import AudioError, WeightsError
from step_audio.core.types import SPEAKER_SIZE, Pcm
from tokenizer.fbank import MELS, Fbank
from tokenizer.graph import Graph
from tokenizer.preprocess import check_pcm

_INPUTS = (("tensor(float)", (1, None, MELS)),)


class SpeakerEncoder:
    """Shared and immutable.

    Args:
        path: `campplus.onnx`, or a graph that takes and gives the same.

    Raises:
        WeightsError: the file is missing or not such a graph.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._graph = Graph(path, _INPUTS, threads)
        self._path = path
        self._fbank = Fbank("povey")

    def embed(self, pcm: Pcm) -> NDArray[np.float32]:
        """Return the speaker vector of a clip at 16 kHz, (192,) float32, not normalised.

        Raises:
            AudioError: not mono, not finite, or shorter than 25 ms.
            WeightsError: the graph gives something else.
        """
        vector = self._graph.run(self.features(pcm)[None])
        if vector.shape != (SPEAKER_SIZE,) or not np.isfinite(vector).all():
            raise WeightsError(
                f"{self._path} made {vector.shape} of this sound, "
                f"expected {SPEAKER_SIZE} finite numbers"
            )
        return vector.astype(np.float32)

    def features(self, pcm: Pcm) -> NDArray[np.float32]:
        """Return the graph's input, (frames, 80): povey window, mean over time removed."""
        rows = self._fbank(check_pcm(pcm))
        if not len(rows):
            raise AudioError(f"{len(pcm)} samples are too few to tell a speaker; give a second")
        centred: NDArray[np.float32] = rows - rows.mean(axis=0, keepdims=True)
        return centred
