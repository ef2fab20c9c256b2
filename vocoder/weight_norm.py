"""Convolutions with weight normalisation: trained as direction and length, served folded.

Parameters carry the names of published checkpoints, `weight_g` (length) and `weight_v`
(direction), normalised over all but axis 0. Source: arXiv:1602.07868.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Normed(nn.Module):
    """A weight split into length and direction, until `fold` makes it plain."""

    weight_g: nn.Parameter | None
    weight_v: nn.Parameter | None
    weight: nn.Parameter | None

    def __init__(self, shape: tuple[int, int, int], out_channels: int, fan_in: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(fan_in)
        direction = torch.empty(shape).uniform_(-bound, bound)
        self.weight_g = nn.Parameter(direction.flatten(1).norm(dim=1).reshape(-1, 1, 1))
        self.weight_v = nn.Parameter(direction)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_parameter("weight", None)

    def fold(self) -> None:
        """Replace length and direction by their product; no further training. Idempotent."""
        if self.weight is None:
            weight = self.effective_weight().detach().clone()
            self.weight = nn.Parameter(weight, requires_grad=False)
            self.weight_g = self.weight_v = None

    def effective_weight(self) -> Tensor:
        """Return the weight that the convolution applies."""
        if self.weight is not None:
            return self.weight
        assert self.weight_g is not None
        assert self.weight_v is not None
        return torch._weight_norm(self.weight_v, self.weight_g, 0)


class NormedConv1d(_Normed):
    """`Conv1d` of odd kernel that keeps the length. (B, C_in, T) -> (B, C_out, T)."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1
    ) -> None:
        super().__init__(
            (out_channels, in_channels, kernel_size), out_channels, in_channels * kernel_size
        )
        self.dilation = dilation
        self.padding = (kernel_size - 1) * dilation // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(
            x,
            self.effective_weight(),
            self.bias,
            padding=self.padding,
            dilation=self.dilation,
        )


class NormedConvTranspose1d(_Normed):
    """`ConvTranspose1d` that multiplies the length by `stride`: (B, C, T) -> (B, D, T * stride)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int) -> None:
        # Of the kernel, kernel / stride taps meet in one output sample.
        super().__init__(
            (in_channels, out_channels, kernel_size),
            out_channels,
            in_channels * kernel_size // stride,
        )
        self.stride = stride
        self.padding = (kernel_size - stride) // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose1d(
            x, self.effective_weight(), self.bias, stride=self.stride, padding=self.padding
        )


def fold_weight_norm(module: nn.Module) -> None:
    """Fold every normed convolution below `module`, in place, for inference."""
    for child in module.modules():
        if isinstance(child, _Normed):
            child.fold()
