"""Mel frames in, mel frames at another pace out: each frame is given a length of its own."""

from __future__ import annotations

import torch
from torch import Tensor


class TimeWarp:
    """Stretches a stream of mel frames; the result does not depend on the cuts.

    A frame of length 2 is followed, one frame later, by the mean of itself and the next: between
    frames the log-mel is interpolated. In all, as many frames come out as the lengths sum to,
    rounded up; the last frame waits for its neighbour or for `flush`.
    """

    def __init__(self) -> None:
        self._held: Tensor | None = None  # (1, D), the frame that has no neighbour yet
        self._length = 1.0
        self._at = 0.0  # of the next output, in frames of output since the held frame began

    def push(self, mel: Tensor, lengths: Tensor, /) -> Tensor:
        """Take frames (T, D) and the length of each, (T,) float64, above 0; return frames."""
        out, last, at = self._warped(mel, lengths)
        if len(mel):
            self._held, self._length, self._at = last, float(lengths[-1]), at
        return out

    def ahead(self, mel: Tensor, lengths: Tensor, /) -> Tensor:
        """Return what `push` would, and forget it."""
        return self._warped(mel, lengths)[0]

    def flush(self) -> Tensor | None:
        """Return the rest; None where nothing was pushed."""
        if self._held is None:
            return None
        count = 0
        while self._at + count < self._length - 1e-9:
            count += 1
        return self._held.expand(count, -1)

    def _warped(self, mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor | None, float]:
        if not len(mel):
            return mel, self._held, self._at
        if self._held is not None:
            mel = torch.cat((self._held.to(mel), mel))
            lengths = torch.cat((lengths.new_tensor([self._length]), lengths))
        starts = lengths.cumsum(0) - lengths
        end = float(starts[-1])
        count = max(0, _whole(end - self._at))
        times = self._at + torch.arange(count, dtype=torch.float64, device=lengths.device)
        left = (torch.searchsorted(starts, times, right=True) - 1).clamp(0, max(0, len(mel) - 2))
        share = ((times - starts[left]) / lengths[left]).to(mel.dtype)[:, None]
        right = (left + 1).clamp(max=len(mel) - 1)
        return torch.lerp(mel[left], mel[right], share), mel[-1:], self._at + count - end


def _whole(span: float) -> int:
    """Return how many whole steps from 0 lie before `span`."""
    return -int(-span // 1) if span > 0 else 0
