"""Quantisers used while training: an EMA codebook (linguistic) and finite scalar (semantic)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

DEAD_COUNT = 0.05


class EmaCodebook(nn.Module):
    """K centroids that follow the frames assigned to them; straight-through gradient.

    Until `start` has placed the centroids by k-means, frames pass through unchanged, so that the
    encoder first learns what is worth keeping. Serving needs only `table` (nearest centroid).
    """

    table: Tensor
    count: Tensor
    total: Tensor
    started: Tensor

    def __init__(self, size: int, width: int, decay: float = 0.999) -> None:
        super().__init__()
        self.size, self.decay = size, decay
        self.register_buffer("table", torch.zeros(size, width))
        self.register_buffer("count", torch.ones(size))
        self.register_buffer("total", torch.zeros(size, width))
        self.register_buffer("started", torch.tensor(False))

    def nearest(self, frames: Tensor) -> Tensor:
        """Return the index of the nearest centroid for frames (N, D): (N,)."""
        return ((self.table**2).sum(1) - 2 * frames @ self.table.T).argmin(1)

    @torch.no_grad()
    def start(self, frames: Tensor, rounds: int = 12) -> None:
        """Place the centroids by k-means on frames (N, D), N at least K."""
        order = torch.randperm(len(frames), device=frames.device)
        self.table.copy_(frames[order[: self.size]])
        for _ in range(rounds):
            index = self.nearest(frames)
            count = torch.bincount(index, minlength=self.size).to(frames.dtype)
            total = torch.zeros_like(self.table).index_add_(0, index, frames)
            used = count > 0
            self.table[used] = total[used] / count[used, None]
            lost = int((~used).sum())
            if lost:
                self.table[~used] = frames[torch.randint(len(frames), (lost,))]
        self.count.fill_(1.0)
        self.total.copy_(self.table)
        self.started.fill_(True)

    @torch.no_grad()
    def _follow(self, frames: Tensor, index: Tensor) -> None:
        count = torch.bincount(index, minlength=self.size).to(frames.dtype)
        total = torch.zeros_like(self.table).index_add_(0, index, frames)
        # Scaled so that the counts stay near 1 a centroid whatever the batch holds.
        scale = self.size / max(1, len(frames))
        self.count.mul_(self.decay).add_(count, alpha=(1 - self.decay) * scale)
        self.total.mul_(self.decay).add_(total, alpha=(1 - self.decay) * scale)
        dead = self.count < DEAD_COUNT
        lost = int(dead.sum())
        if lost:
            self.total[dead] = frames[torch.randint(len(frames), (lost,), device=frames.device)]
            self.count[dead] = 1.0
        self.table.copy_(self.total / self.count[:, None])

    def forward(self, frames: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise frames (B, T, D); `valid` (B, T) marks real ones.

        Returns:
            Quantised frames (B, T, D), indices (B, T), commitment loss ().
        """
        if not bool(self.started):
            index = torch.zeros(frames.shape[:2], dtype=torch.long, device=frames.device)
            return frames, index, frames.new_zeros(())
        index = self.nearest(frames.detach().flatten(0, 1)).view(frames.shape[:2])
        chosen = self.table[index]
        commitment = ((frames - chosen).square().mean(-1) * valid).sum() / valid.sum()
        if self.training:
            self._follow(frames.detach()[valid.bool()], index[valid.bool()])
        return frames + (chosen - frames).detach(), index, commitment


class FiniteScalarQuantizer(nn.Module):
    """Each of a few dimensions rounded to a few levels. Source: FSQ, arXiv:2309.15505."""

    levels: Tensor
    place: Tensor

    def __init__(self, width: int, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.down = nn.Linear(width, len(levels))
        self.up = nn.Linear(len(levels), width)
        place = [1]
        for level in levels[:-1]:
            place.append(place[-1] * level)
        self.register_buffer("levels", torch.tensor(levels, dtype=torch.float32))
        self.register_buffer("place", torch.tensor(place, dtype=torch.long))

    def digits(self, frames: Tensor) -> Tensor:
        """Return the rounded digits of frames (..., D): (..., dims), each in [0, level)."""
        return (torch.sigmoid(self.down(frames)) * (self.levels - 1)).round().long()

    def indices(self, frames: Tensor) -> Tensor:
        """Return the code of each frame (..., D): (...)."""
        return (self.digits(frames) * self.place).sum(-1)

    def forward(self, frames: Tensor, rounding: bool) -> tuple[Tensor, Tensor]:
        """Return reconstructed frames (B, T, D) and codes (B, T).

        Without `rounding` uniform noise of about the rounding error stands in for it.
        """
        scaled = torch.sigmoid(self.down(frames).float()) * (self.levels - 1)
        rounded = scaled.round()
        if rounding:
            noisy = scaled + (rounded - scaled).detach()
        else:
            noisy = scaled + (torch.rand_like(scaled) - 0.5) * 0.6
        code = (rounded.long() * self.place).sum(-1)
        return self.up(noisy / (self.levels - 1) * 2 - 1), code
