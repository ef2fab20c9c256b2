"""Cost of the vocoder, group by group. Run: python -m tests.bench.vocoder

Times are of the push that gives a stream's first sound; `rtf`: time of a whole stream over its
4.8 s of sound. The groups are random: they cost what speech costs.
"""

from __future__ import annotations

import time

import numpy as np

from step_audio.core.ports import Services
from step_audio.core.types import GROUP_MS, TokenGroup
from tests.bench.measure import report, setup

GROUPS, WARM_UP = 40, 2


def measure(services: Services, seed: int) -> tuple[float, float]:
    """Return (ms of the push with the first sound, real-time factor) of a stream of 4.8 s."""
    rng = np.random.default_rng(seed)
    stream = services.vocoder.open(services.voices.get(services.default_voice), seed)
    first_ms, total_ms = 0.0, 0.0
    for _ in range(GROUPS):
        a, b = rng.integers(1024, size=2).tolist()
        c, d, e = rng.integers(4096, size=3).tolist()
        began = time.perf_counter()
        sound = list(stream.push(TokenGroup((a, b), (c, d, e))))
        spent_ms = (time.perf_counter() - began) * 1000
        total_ms += spent_ms
        first_ms = first_ms or (spent_ms if sound else 0.0)
    began = time.perf_counter()
    list(stream.flush())
    total_ms += (time.perf_counter() - began) * 1000
    return first_ms, total_ms / (GROUPS * GROUP_MS)


def main() -> None:
    """Speak several times."""
    run = setup(__doc__, runs=10)
    services = run.parts.services()
    pairs = [measure(services, seed) for seed in range(WARM_UP + run.runs)]
    first_ms, rtf = zip(*pairs[WARM_UP:], strict=True)
    report("vocoder.first_sound", run.profile, first_ms, rtf=float(np.median(rtf)))


if __name__ == "__main__":
    main()
