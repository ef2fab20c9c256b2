"""The linguistic tokenizer: 16 kHz sound to 1024 codes at 16.7 Hz, four of them every 240 ms.

Front end, SAN-M encoder and nearest centroid, as in the published model; nothing looks ahead, so
a stream gives exactly what the whole clip gives.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from step_audio.core.errors import ShapeError
from step_audio.core.ports import Stage
from step_audio.core.types import Pcm
from tokenizer.codebook import Codebook
from tokenizer.features import Cmvn, StackedFeatures
from tokenizer.sanm import SanmCache, SanmEncoder


class LinguisticTokenizer:
    """Shared and immutable; `open` starts a stream.

    Args:
        encoder: in evaluation mode, on the device where it shall run.
        codebook: centroids of the encoder's width.
        cmvn: normalisation of the features.
        dither: see `StackedFeatures`.
    """

    def __init__(
        self,
        encoder: SanmEncoder,
        codebook: Codebook,
        cmvn: Cmvn,
        dither: float = 0.0,
    ) -> None:
        if codebook.width != encoder.config.output_size:
            raise ShapeError(
                f"codebook has D={codebook.width}, encoder D={encoder.config.output_size}"
            )
        self._encoder, self._codebook = encoder, codebook
        self._cmvn, self._dither = cmvn, dither
        self._device = next(encoder.parameters()).device

    def __deepcopy__(self, memo: dict[int, object]) -> LinguisticTokenizer:
        """Return itself: a copied stream shares its model."""
        return self

    def open(self) -> Stage[Pcm, int]:
        """Return a stream of its own state."""
        return _LinguisticStream(self)

    def encode(self, pcm: Pcm) -> NDArray[np.int64]:
        """Return the codes of a whole clip, (T,); all chunks in parallel."""
        front = self.open_features()
        features = [*front.push(pcm), *front.flush()]
        if not features:
            return np.zeros(0, dtype=np.int64)
        return self._codebook.quantize(self.frames(np.concatenate(features)))

    def open_features(self) -> StackedFeatures:
        """Return a fresh front end."""
        return StackedFeatures(self._cmvn, self._dither)

    def open_cache(self) -> SanmCache:
        """Return the encoder's state of a fresh stream."""
        return self._encoder.open()

    @torch.inference_mode()
    def chunk_codes(self, features: NDArray[np.float32], cache: SanmCache) -> list[int]:
        """Return the codes of the next chunk of a stream, (n, 560), and advance its state."""
        batch = torch.from_numpy(features).to(self._device)[None]
        frames = self._encoder.forward_chunk(batch, cache)
        codes: list[int] = self._codebook.quantize(frames[0].cpu().numpy()).tolist()
        return codes

    @torch.inference_mode()
    def frames(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode the features of a whole clip: (T, 560) -> (T, D)."""
        batch = torch.from_numpy(features).to(self._device)[None]
        encoded: NDArray[np.float32] = self._encoder(batch)[0].cpu().numpy()
        return encoded


class _LinguisticStream:
    """Stage[Pcm, int] of one stream."""

    def __init__(self, shared: LinguisticTokenizer) -> None:
        self._shared = shared
        self._features, self._cache = shared.open_features(), shared.open_cache()

    def push(self, pcm: Pcm, /) -> Iterable[int]:
        """Take 16 kHz samples and return the codes of each full 240 ms."""
        return self._codes(self._features.push(pcm))

    def flush(self) -> Iterable[int]:
        """Return the codes of the rest; less than about 55 ms makes none."""
        return self._codes(self._features.flush())

    def _codes(self, chunks: Iterable[NDArray[np.float32]]) -> list[int]:
        return [
            code for features in chunks for code in self._shared.chunk_codes(features, self._cache)
        ]
