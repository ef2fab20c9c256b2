"""Where groups fall on the grids of mel frames and samples, exactly and without drift.

A group lasts 120 ms = 2646 samples at 22.05 kHz = 10.34 mel frames of 256 samples. The first g
groups own the frames that begin before their end: ceil(2646 g / 256). A stream therefore has at
most one frame more than it needs, and its sound is cut to 2646 samples a group at the end.
"""

from __future__ import annotations

from step_audio.core.types import GROUP_MS

SAMPLE_RATE_HZ = 22_050
HOP_SAMPLES = 256
GROUP_SAMPLES = SAMPLE_RATE_HZ * GROUP_MS // 1000


def frames_until(groups: int) -> int:
    """Return the number of mel frames that the first `groups` groups own."""
    return -(-groups * GROUP_SAMPLES // HOP_SAMPLES)
