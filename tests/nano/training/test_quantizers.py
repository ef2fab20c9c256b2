"""Quantisers: nearest centroid, straight-through gradients, every code reachable."""

from __future__ import annotations

import torch

from step_audio.nano.training.quantizers import EmaCodebook, FiniteScalarQuantizer


def test_codebook_passes_frames_through_until_it_is_started() -> None:
    codebook = EmaCodebook(8, 4)
    frames = torch.randn(2, 5, 4)
    out, index, commitment = codebook(frames, torch.ones(2, 5))
    assert torch.equal(out, frames)
    assert int(index.sum()) == 0
    assert float(commitment) == 0.0


def test_codebook_started_on_separate_clusters_finds_them() -> None:
    torch.manual_seed(0)
    centres = torch.eye(4) * 10
    frames = centres.repeat(50, 1) + 0.01 * torch.randn(200, 4)
    codebook = EmaCodebook(4, 4)
    codebook.start(frames)
    index = codebook.nearest(frames)
    assert len(set(index[:4].tolist())) == 4
    assert torch.equal(index, index[:4].repeat(50))


def test_codebook_gradient_goes_straight_through() -> None:
    codebook = EmaCodebook(4, 3).eval()
    codebook.start(torch.randn(64, 3))
    frames = torch.randn(1, 6, 3, requires_grad=True)
    out, _, _ = codebook(frames, torch.ones(1, 6))
    out.sum().backward()
    assert frames.grad is not None
    assert torch.equal(frames.grad, torch.ones_like(frames))


def test_dead_centroids_are_moved_onto_frames() -> None:
    torch.manual_seed(0)
    codebook = EmaCodebook(4, 2, decay=0.5)
    codebook.start(torch.randn(64, 2))
    codebook.table[3] = codebook.total[3] = torch.tensor([100.0, 100.0])
    codebook.train()
    for _ in range(8):
        codebook(torch.randn(1, 64, 2), torch.ones(1, 64))
    assert codebook.table.abs().max() < 50


def test_finite_scalar_codes_are_mixed_radix_of_their_digits() -> None:
    torch.manual_seed(0)
    quantizer = FiniteScalarQuantizer(16, (4, 4, 4, 4, 4, 4))
    frames = torch.randn(200, 16) * 20
    digits, codes = quantizer.digits(frames), quantizer.indices(frames)
    assert int(codes.min()) >= 0
    assert int(codes.max()) < 4096
    assert torch.equal(codes, sum(digits[:, i] * 4**i for i in range(6)))
    _, again = quantizer(frames[None], rounding=True)
    assert torch.equal(again[0], codes)
