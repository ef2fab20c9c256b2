"""What every benchmark shares: its arguments, a spoken question, percentiles as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from step_audio.cli.parts import Parts
from step_audio.core.config import load_profile
from step_audio.core.types import Pcm
from step_audio.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Setup:
    """What to measure, and how often."""

    profile: str
    parts: Parts
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
