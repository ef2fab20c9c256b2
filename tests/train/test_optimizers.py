"""Muon: its steps are orthogonal and those of torch's own, whatever type they are computed in."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from step_audio.train import precision
from step_audio.train.optimizers import Muon, orthogonal


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (32, 32)])
def test_orthogonal_brings_all_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert values.min() > 0.5
    assert values.max() < 1.5


def test_steps_are_those_of_torchs_own_within_its_rounding() -> None:
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(16, 24)) for _ in range(2))
    mine = Muon([ours], weight_decay=0.02)
    library = torch.optim.Muon([theirs], lr=1e-3, weight_decay=0.02, adjust_lr_fn="match_rms_adamw")
    for _ in range(20):
        gradient = torch.randn(16, 24)
        ours.grad, theirs.grad = gradient, gradient.clone()
        mine.step()
        library.step()  # type: ignore[no-untyped-call]
    assert torch.allclose(ours, theirs, atol=5e-4)
    assert not torch.allclose(ours, torch.ones(16, 24), atol=5e-3)


def test_momentum_survives_a_checkpoint() -> None:
    torch.manual_seed(0)
    first, second = (nn.Parameter(torch.zeros(4, 6)) for _ in range(2))
    before, after = Muon([first], 0.0), Muon([second], 0.0)
    first.grad = torch.randn(4, 6)
    before.step()
    after.load_state_dict(before.state_dict())
    second.data.copy_(first.data)
    first.grad = second.grad = torch.randn(4, 6)
    before.step()
    after.step()
    assert torch.equal(first, second)


def test_bfloat16_is_used_only_where_it_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    assert precision.bf16_gains("cuda")
    for half, expected in ((0.5, True), (0.95, False), (3.0, False)):
        precision.bf16_gains.cache_clear()
        monkeypatch.setattr(
            precision, "_seconds", lambda dtype, half=half: half if dtype.itemsize == 2 else 1.0
        )
        assert precision.bf16_gains("cpu") is expected
    precision.bf16_gains.cache_clear()
