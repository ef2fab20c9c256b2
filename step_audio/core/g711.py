"""Telephone codecs: 8 bits a sample, both laws, by table.

Source: ITU-T G.711; the tables follow its decoding rules, and encoding takes the nearest value.
"""

from __future__ import annotations

from functools import cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from step_audio.core.types import Pcm

RATE_HZ: Final = 8000
Law = Literal["ulaw", "alaw"]


def decode(data: bytes, law: Law) -> Pcm:
    """Return 8 kHz samples in [-1, 1], one a byte."""
    return _values(law)[np.frombuffer(data, dtype=np.uint8)]


def encode(pcm: Pcm, law: Law) -> bytes:
    """Return one byte a sample; what lies outside [-1, 1] is clipped."""
    values, codes = _sorted(law)
    edges = (values[1:] + values[:-1]) / 2
    return codes[np.searchsorted(edges, pcm)].tobytes()


@cache
def _values(law: Law) -> NDArray[np.float32]:
    code = np.arange(256)
    if law == "ulaw":
        code = ~code & 0xFF
        exponent, mantissa = code >> 4 & 7, code & 0xF
        size = ((mantissa << 3) + 0x84 << exponent) - 0x84
        sign = np.where(code & 0x80, -1, 1)
    else:
        code = code ^ 0x55
        exponent, mantissa = code >> 4 & 7, code & 0xF
        size = (mantissa << 4) + np.where(exponent > 0, 0x108, 8) << np.maximum(exponent - 1, 0)
        sign = np.where(code & 0x80, 1, -1)
    values: NDArray[np.float32] = (sign * size / 32768).astype(np.float32)
    return values


@cache
def _sorted(law: Law) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    values = _values(law)
    order = np.argsort(values, kind="stable")
    return values[order], order.astype(np.uint8)
