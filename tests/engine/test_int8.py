"""Int8 rows: error bounds, and equal results whichever way the product is computed."""

from __future__ import annotations

import pytest
import torch

from step_audio.engine.int8 import Int8Linear, Int8Weight, pack_int8, quantize_rows


def matrix(n: int, k: int) -> torch.Tensor:
    scale = torch.logspace(-3, 2, n)[:, None]  # rows of very different size
    return torch.randn(n, k, generator=torch.Generator().manual_seed(1)) * scale


def test_rounding_errs_by_half_a_step_at_most() -> None:
    weight = matrix(50, 64)
    packed = quantize_rows(weight)
    error = (packed.dequantized() - weight).abs()
    assert (error <= packed.scale[:, None] * 0.5001).all()
    assert (packed.scale <= weight.abs().amax(1) / 127 * 1.01).all()


def test_scales_are_exact_in_bfloat16() -> None:
    scale = quantize_rows(matrix(50, 64)).scale
    assert torch.equal(scale.bfloat16().float(), scale)


def test_rows_of_zeros_stay_zero() -> None:
    packed = quantize_rows(torch.zeros(2, 16))
    assert torch.equal(packed.dequantized(), torch.zeros(2, 16))


@pytest.mark.parametrize("width", [16, 40, 48, 320])  # 40 has no kernel
@pytest.mark.parametrize("rows", [1, 3, 11, 12, 40])
def test_the_product_equals_the_dequantised_one(width: int, rows: int) -> None:
    weight = quantize_rows(torch.randn(24, width, generator=torch.Generator().manual_seed(2)))
    x = torch.randn(rows, width, generator=torch.Generator().manual_seed(3)).bfloat16()
    want = x.float() @ weight.dequantized().T
    got = Int8Linear([weight])(x).float()
    assert (got - want).abs().max() < 2**-7 * want.abs().max()


def test_stacked_matrices_give_stacked_results() -> None:
    a, b = quantize_rows(matrix(8, 32)), quantize_rows(matrix(5, 32))
    x = torch.randn(2, 32, generator=torch.Generator().manual_seed(4))
    both = Int8Linear([a, b])(x)
    assert torch.equal(both, torch.cat([Int8Linear([a])(x), Int8Linear([b])(x)], dim=1))


def test_packing_keeps_vectors_and_names_the_scales() -> None:
    packed = pack_int8({"w": matrix(4, 32), "norm": torch.ones(32, dtype=torch.bfloat16)})
    assert {name: t.dtype for name, t in packed.items()} == {
        "w": torch.int8,
        "w.scale": torch.float32,
        "norm": torch.float32,
    }
    restored = Int8Weight(packed["w"], packed["w.scale"]).dequantized()
    assert ((restored - matrix(4, 32)).abs() <= packed["w.scale"][:, None] * 0.5001).all()
