"""Passes of flow and HiFT, recorded once as CUDA graphs, give the numbers of the plain passes.

A graph saves the launches of a pass: its kernels are smaller than the time to start them one by
one, where one stream is served. `tests.bench.streams` tells what it saves.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.bench.streams import graphed
from tests.golden_checks import flow, vocoder
from tests.golden_checks.__main__ import DEFAULT
from tests.golden_checks.component import case_of, cases_with
from tests.gpu.test_numbers import kept, on

pytestmark = pytest.mark.cuda_only


def replayed(call: Callable[..., Tensor], first: list[Tensor], second: list[Tensor]) -> None:
    """Assert that a graph recorded on one input gives the plain result of another."""
    run = graphed(call, first)
    for given in (first, second, first):
        torch.testing.assert_close(run(*given), call(*given), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_the_estimator_as_a_graph(device: str) -> None:
    estimator = on(device, flow.model(DEFAULT)).decoder.estimator
    recorded = kept("vocoder", "flow", "estimator")
    case = case_of(recorded, cases_with(recorded, "y")[0])
    given = [case[name].to(device) for name in ("x", "mask", "mu", "t", "spks", "cond")]
    other = [given[0].flip(-1), given[1], *(one * 0.5 for one in given[2:])]
    replayed(
        lambda x, mask, mu, t, spks, cond: estimator(x, mask, mu, t, spks=spks, cond=cond),
        given,
        other,
    )


@torch.inference_mode()
def test_hift_as_a_graph(device: str) -> None:
    model, recorded = on(device, vocoder.hift(DEFAULT)), kept("vocoder", "hift", "data")
    case = case_of(recorded, cases_with(recorded, "f0")[0])
    given = [case["mel"].to(device), case["source"].to(device)]
    replayed(model.decode, given, [one.flip(-1) for one in given])
