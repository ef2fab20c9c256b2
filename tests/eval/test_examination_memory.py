"""What serving takes of memory is measured in a process that does nothing else."""

from __future__ import annotations

import resource

import numpy as np

from step_audio.cli.examination import serving_memory_mb
from step_audio.core.config import load_profile


def test_serving_is_weighed_in_a_process_of_its_own() -> None:
    ours_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ballast = np.ones(int(max(0.0, 1600 - ours_mb) * 131_072))  # MiB of float64
    sound = np.sin(np.arange(16_000, dtype=np.float32) / 20)
    peak_mb = serving_memory_mb(load_profile("nano", environ={}), [sound])
    assert 300 < peak_mb < 1500
    assert ballast.sum() == len(ballast)
