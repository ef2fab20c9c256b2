"""Whether a device multiplies bfloat16 faster than float32; half of the CPUs do not.

Without AVX512-BF16 or AMX oneDNN converts every product: measured at 29 GFLOP/s a core where
float32 reaches 140. A trainer asks here instead of assuming.
"""

from __future__ import annotations

import time
from functools import cache

import torch

GAIN = 1.2
"""How much faster bfloat16 must be; less does not pay for its rounding."""

_SIZE, _REPEATS = 512, 5


def autocast(device: str) -> torch.autocast:
    """Return a context in which products on the device ("cpu", "cuda", ...) are as fast as it can:
    bfloat16 where that gains, float32 elsewhere."""
    return torch.autocast(device, torch.bfloat16, enabled=bf16_gains(device))


@cache
def bf16_gains(device: str) -> bool:
    """Return whether bfloat16 products pay on the device; on a CPU measured, in about 10 ms."""
    return device != "cpu" or GAIN * _seconds(torch.bfloat16) < _seconds(torch.float32)


def _seconds(dtype: torch.dtype) -> float:
    """Return the time of the fastest of some square products, (512, 512) each."""
    matrix = torch.ones(_SIZE, _SIZE, dtype=dtype)
    taken = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        torch.mm(matrix, matrix)
        taken.append(time.perf_counter() - start)
    return min(taken)
