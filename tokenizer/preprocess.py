"""What happens to sound before it is tokenised: rate, level, and cutting away silence.

The published tokenizers resample to 16 kHz and scale a whole clip to a peak of 0.999. A live
stream has no whole clip, so `CausalLevel` scales block by block with the peak heard so far.
Source: Step-Audio report, arXiv:2502.11946, and its reference code.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from step_audio.core import resampling
from step_audio.core.audio import Rechunker
from step_audio.core.errors import AudioError
from step_audio.core.types import Pcm

RATE_HZ: Final = 16_000
BLOCK_SAMPLES: Final = 3840
"""240 ms: two groups, and one chunk of the linguistic encoder."""

PEAK: Final = 0.999
CLIP_FLOOR: Final = 0.01
STREAM_FLOOR: Final = 0.1

_TRIM_DB = 20.0
_TRIM_FRAME, _TRIM_HOP = 512, 128
_KEEP_LEFT, _KEEP_RIGHT, _ROUND_TO = 800, 3520, 240


def resample(pcm: Pcm, rate_hz: int) -> Pcm:
    """Return `pcm` at 16 kHz; equal to the reference, which refuses rates below that."""
    return resampling.resample(pcm, rate_hz, RATE_HZ)


def check_pcm(pcm: Pcm) -> Pcm:
    """Return samples as float32.

    Raises:
        AudioError: not one-dimensional, not floating point, or not finite.
    """
    if pcm.ndim != 1 or pcm.dtype.kind != "f":
        raise AudioError(f"samples must be mono floats in [-1, 1], not {pcm.dtype} {pcm.shape}")
    if not np.isfinite(pcm).all():
        raise AudioError("samples hold NaN or infinite values; send the sound again")
    return np.asarray(pcm, dtype=np.float32)


def normalise_level(pcm: Pcm, floor: float = CLIP_FLOOR) -> Pcm:
    """Return a whole clip scaled to a peak of 0.999; below `floor` it stays quiet."""
    peak = np.float32(np.abs(pcm).max(initial=0.0))
    scaled: Pcm = pcm / np.maximum(peak, np.float32(floor)) * np.float32(PEAK)
    return scaled


def trim_silence(pcm: Pcm) -> Pcm:
    """Cut silence off both ends of a TTS prompt; 50 ms stay in front, at least 220 ms behind.

    Args:
        pcm: 16 kHz.

    Returns:
        A whole number of 15 ms and 270 ms more; zeros stand where the clip has no sound.
    """
    start, end = sounding_span(pcm)
    length = -(-(end - start) // _ROUND_TO) * _ROUND_TO + _KEEP_LEFT + _KEEP_RIGHT
    first = start - _KEEP_LEFT
    kept = np.pad(pcm[max(0, first) :], (max(0, -first), 0))[:length]
    return np.pad(kept, (0, length - len(kept)))


def sounding_span(pcm: Pcm) -> tuple[int, int]:
    """Return (start, end) in samples of what is less than 20 dB below the loudest frame.

    As `librosa.effects.trim` with frames of 512 and a hop of 128, which takes a second to import.
    """
    padded = np.pad(pcm, _TRIM_FRAME // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _TRIM_FRAME)[::_TRIM_HOP]
    level = np.sqrt(np.mean(frames**2, axis=1))
    decibel = 20 * np.log10(np.maximum(level, 1e-5))
    loud = np.flatnonzero(decibel > decibel.max() - _TRIM_DB)
    return int(loud[0]) * _TRIM_HOP, min(len(pcm), (int(loud[-1]) + 1) * _TRIM_HOP)


class CausalLevel:
    """Stage[Pcm, Pcm]: blocks of 240 ms, scaled so that the peak so far, theirs included, is 0.999.

    Which samples share a factor depends on their number alone, so cuts do not show.

    Args:
        floor: peaks below count as this. The reference's 0.01 would raise the noise before the
            first word by 40 dB; a whole clip, where speech sets the peak, never shows that.
    """

    def __init__(self, floor: float = STREAM_FLOOR) -> None:
        self._blocks = Rechunker(BLOCK_SAMPLES)
        self._peak = np.float32(floor)

    def push(self, pcm: Pcm, /) -> Iterable[Pcm]:
        """Take samples and return the blocks that are full."""
        return [self._scaled(block) for block in self._blocks.push(pcm)]

    def flush(self) -> Iterable[Pcm]:
        """Return the last block, shorter than the others, if anything is left."""
        return [self._scaled(block) for block in self._blocks.flush()]

    def _scaled(self, block: Pcm) -> Pcm:
        self._peak = np.maximum(self._peak, np.float32(np.abs(block).max()))
        return block / self._peak * np.float32(PEAK)
