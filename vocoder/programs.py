"""The two large passes of the vocoder as TorchScript programs, for CPUs.

A pass is some hundred small operations. Between two of them Python holds its lock, which the
language model, the tokenizer and the other answers of the same process want too: with three
answers under way a window took twice as long as alone, and sound came too late. A program runs
from its first operation to its last without Python. It computes what the modules do, to the bit.

The weights are those of the module, not copies: make a program when they are on their device and
of their precision.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from vocoder.estimator import Estimator, Span
from vocoder.flow import Velocity
from vocoder.hift import HiftGenerator

_FRAMES: Final = 31
"""Length of the examples; a program takes any."""


class _Whole(nn.Module):
    """A velocity for rows of one length."""

    def __init__(self, estimator: Estimator) -> None:
        super().__init__()
        self.estimator = estimator

    def forward(self, x: Tensor, times: list[Tensor], spks: Tensor, cond: Tensor) -> Tensor:
        return self.estimator.step(x, times, Span(None), spks, cond)


class _Padded(nn.Module):
    """The same for rows of several lengths, which come out as they would alone."""

    def __init__(self, estimator: Estimator) -> None:
        super().__init__()
        self.estimator = estimator

    def forward(
        self, x: Tensor, times: list[Tensor], mask: Tensor, spks: Tensor, cond: Tensor
    ) -> Tensor:
        return self.estimator.step(x, times, Span(mask, alone=True), spks, cond)


class _Wave(nn.Module):
    """Mel and source to samples."""

    def __init__(self, generator: HiftGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, mel: Tensor, source: Tensor) -> Tensor:
        return self.generator.decode(mel, source)


def velocity_program(estimator: Estimator) -> Velocity:
    """Return `estimator.step` as programs; spans that let rows see padding stay as they are."""
    like, config = estimator.final_proj.weight, estimator.config
    width = config.out_channels
    x, spks = like.new_zeros((1, 2 * width, _FRAMES)), like.new_zeros((1, width))
    with torch.no_grad():
        times = estimator.times(like.new_zeros(1))
    cond, mask = like.new_zeros((1, width, _FRAMES)), like.new_ones((1, 1, _FRAMES))
    whole = _program(_Whole(estimator), (x, times, spks, cond))
    padded = _program(_Padded(estimator), (x, times, mask, spks, cond))

    def step(x: Tensor, times: Sequence[Tensor], span: Span, spks: Tensor, cond: Tensor) -> Tensor:
        if span.mask is None:
            return whole(x, list(times), spks, cond)
        if span.alone:
            return padded(x, list(times), span.mask, spks, cond)
        return estimator.step(x, times, span, spks, cond)

    return step


def wave_program(generator: HiftGenerator) -> Callable[[Tensor, Tensor], Tensor]:
    """Return `generator.decode` as a program."""
    config = generator.config
    like = next(generator.source_downs.parameters())
    mel = like.new_zeros((1, config.in_channels, _FRAMES))
    source = like.new_zeros((1, 1, _FRAMES * config.hop_size))
    return _program(_Wave(generator), (mel, source))


def _program(module: nn.Module, example: tuple[Any, ...]) -> Callable[..., Tensor]:
    with torch.no_grad(), warnings.catch_warnings():
        # torch.export, which it recommends instead, needs a compiler on the machine to run.
        warnings.simplefilter("ignore", DeprecationWarning)
        # PyTorch's own checks of sizes are not traced; tests compare programs over many lengths.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        trace: Any = torch.jit.trace
        traced: Any = trace(module.eval(), example, check_trace=False)

    def run(*args: Any) -> Tensor:
        # Its optimiser would stop the first two passes for a second, and finds nothing to win.
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            out: Tensor = traced(*args)
        return out

    return run
