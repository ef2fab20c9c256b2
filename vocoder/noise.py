"""Start noise of the flow as a function of seed and absolute mel frame.

However a stream is cut into windows, a frame always starts from the same noise, so overlapping
windows agree and the output depends on nothing but the tokens and the seed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from step_audio.core.types import MEL_BANDS

_BLOCK_FRAMES = 32
_WORD = (1 << 64) - 1


def mel_noise(seed: int, start: int, stop: int) -> NDArray[np.float32]:
    """Return standard normal noise for frames start .. stop - 1, (80, stop - start).

    Frames below 0 are those of the prompt. Any integer is a seed; only 64 bits of it count.
    """
    if stop <= start:
        return np.zeros((MEL_BANDS, 0), np.float32)
    first, last = start // _BLOCK_FRAMES, (stop - 1) // _BLOCK_FRAMES
    rows = np.concatenate([_block(seed, number) for number in range(first, last + 1)])
    begin = start - first * _BLOCK_FRAMES
    return np.ascontiguousarray(rows[begin : begin + stop - start].T)


def _block(seed: int, number: int) -> NDArray[np.float32]:
    # The block number is the high word of a counter whose low words count the draws within it.
    key = np.array([seed & _WORD, 0], dtype=np.uint64)
    counter = np.array([0, 0, 0, number & _WORD], dtype=np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key, counter=counter))
    return generator.standard_normal((_BLOCK_FRAMES, MEL_BANDS)).astype(np.float32)
