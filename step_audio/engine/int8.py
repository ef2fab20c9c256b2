"""Weight-only int8: rows of a matrix as int8 with one scale a row, and the product with them.

On disk `name` is int8 (N, K) and `name.scale` float32 (N,). Scales are exact in bfloat16, so
that every way to compute (int8 kernel, dequantised) sees the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SCALE_SUFFIX = ".scale"
_LEVELS = 127
# The int8 kernel walks the rows of the input one by one; from here on a product with
# dequantised rows is faster (measured on AVX-512, width 320).
_MANY_ROWS = 12
# The kernel's inner loop has no tail: other widths give garbage, not an error.
_KERNEL_WIDTH = 16


@dataclass(frozen=True, slots=True)
class Int8Weight:
    """A matrix (N, K) as `rows` int8 (N, K) times `scale` float32 (N,)."""

    rows: Tensor
    scale: Tensor

    def dequantized(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the matrix, (N, K)."""
        return self.rows.to(dtype) * self.scale.to(dtype)[:, None]


def quantize_rows(weight: Tensor) -> Int8Weight:
    """Round a matrix to int8, symmetric, one scale a row; the error is at most half a step."""
    exact = weight.float().abs().amax(dim=1) / _LEVELS
    exact = exact.clamp(min=torch.finfo(torch.bfloat16).tiny)
    near = exact.bfloat16()
    # Never below the exact scale, or the largest weight would be clipped.
    above = torch.nextafter(near, torch.full_like(near, torch.inf))
    scale = torch.where(near.float() < exact, above, near).float()
    rows = (weight.float() / scale[:, None]).round().clamp(-_LEVELS, _LEVELS)
    return Int8Weight(rows.to(torch.int8), scale)


def pack_int8(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict for disk: matrices as int8 with `name.scale`, vectors as float32."""
    packed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if tensor.dim() < 2:
            packed[name] = tensor.detach().float().clone()
            continue
        quantized = quantize_rows(tensor.detach())
        packed[name], packed[name + SCALE_SUFFIX] = quantized.rows, quantized.scale
    return packed


class FloatLinear:
    """x W^T in the weight's own type."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        self._weight = torch.cat(list(weights)).contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """(M, K) -> (M, N)."""
        return F.linear(x.to(self._weight.dtype), self._weight)


class Int8Linear:
    """x W^T with int8 rows, bfloat16 in and out; CPU only."""

    def __init__(self, weights: Sequence[Int8Weight]) -> None:
        self._weight = Int8Weight(
            torch.cat([w.rows for w in weights]).contiguous(),
            torch.cat([w.scale for w in weights]),
        )
        self._scale = self._weight.scale.bfloat16()
        self._has_kernel = self._weight.rows.shape[1] % _KERNEL_WIDTH == 0

    def __call__(self, x: Tensor) -> Tensor:
        """(M, K) -> (M, N)."""
        x = x.to(torch.bfloat16)
        if self._has_kernel and x.shape[0] < _MANY_ROWS:
            return torch._weight_int8pack_mm(x, self._weight.rows, self._scale)
        # The product of unscaled rows is exact in bfloat16: |int8| < 2^8.
        return F.linear(x, self._weight.rows.to(torch.bfloat16)) * self._scale
