"""What every benchmark shares: its arguments, a spoken question, percentiles as JSON."""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from step_audio.cli.parts import CommandParts
from step_audio.core.config import load_profile
from step_audio.core.ports import Stage
from step_audio.core.types import Pcm
from step_audio.runtime import Runtime

BLOCK_S = 0.24
"""Two groups; the tokenizers work in blocks of it."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What to measure, and how often."""

    profile: str
    parts: CommandParts
    voice: str
    runs: int


def setup(about: str | None, runs: int) -> Setup:
    """Parse `--profile` and `--runs`, and load the profile."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--profile", default="nano")
    parser.add_argument("--runs", type=int, default=runs, help="measured, after the warm-up")
    args = parser.parse_args()
    profile = load_profile(args.profile)
    return Setup(args.profile, Runtime(profile), profile.voice, args.runs)


def speechlike(seconds: float, rate_hz: int) -> Pcm:
    """Return sound with the cost of speech and no meaning: a gliding, pulsing harmonic tone."""
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    phase = 2 * np.pi * (140 * t + 20 * np.sin(2 * np.pi * 0.7 * t))
    harmonics = np.arange(1, 20)[:, None]
    tone = (np.sin(phase * harmonics) / harmonics).sum(axis=0)
    pulse = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * t)
    pcm: Pcm = (0.1 * tone * pulse).astype(np.float32)
    return pcm


def long_stream(stage: Stage[Pcm, Any], seconds: float) -> dict[str, float]:
    """Return what 240 ms of a long stream at 16 kHz cost early and late, and how memory grew.

    Times are CPU time of this process, in ms; memory is what it holds, in MB.
    """
    # Four blocks over and over: a recording in memory would hide what the stream keeps.
    blocks = np.split(speechlike(4 * BLOCK_S, 16_000), 4)
    costs, memory = [], []
    for at in range(int(seconds / BLOCK_S)):
        begun = time.process_time()
        list(stage.push(blocks[at % 4]))
        costs.append(1000 * (time.process_time() - begun))
        if at % 10 == 9:
            memory.append(_resident_mb())
    return {
        "early_ms": float(np.median(costs[8:58])),
        "late_ms": float(np.median(costs[-50:])),
        "p95_ms": float(np.percentile(costs, 95)),
        "rtf": sum(costs) / 1000 / seconds,
        "memory_early_mb": memory[min(5, len(memory) - 1)],
        "memory_late_mb": memory[-1],
        "memory_peak_mb": max(memory),
    }


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def report(bench: str, profile: str, times_ms: Sequence[float], **more: float) -> None:
    """Print the JSON line: median, 95th percentile, number of runs, and what else is given."""
    p50, p95 = np.percentile(times_ms, [50, 95])
    line = {
        "bench": bench,
        "profile": profile,
        "p50_ms": round(float(p50), 2),
        "p95_ms": round(float(p95), 2),
        "runs": len(times_ms),
        **{name: round(value, 3) for name, value in more.items()},
    }
    print(json.dumps(line))
