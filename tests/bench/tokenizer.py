"""Cost of one 120 ms push into the audio tokenizer. Run: python -m tests.bench.tokenizer

`rtf`: mean time of a push over the 120 ms it covers; below 1 keeps up with a microphone. A second
line is about one stream of 10 minutes: what 240 ms cost early and late, and memory.
"""

from __future__ import annotations

import json
import time

import numpy as np

from step_audio.core.types import GROUP_MS
from tests.bench.measure import long_stream, report, setup, speechlike

WARM_UP, LONG_S = 20, 600.0


def main() -> None:
    """Push a long question in 120 ms chunks."""
    run = setup(__doc__, runs=200)
    tokenizer = run.parts.audio_tokenizer()
    rate_hz = tokenizer.sample_rate_hz
    chunk = rate_hz * GROUP_MS // 1000
    times_ms: list[float] = []
    stage = tokenizer.open()
    # A question lasts 3 s here: state grows within one and never across two.
    pcm = speechlike(3.0, rate_hz)
    while len(times_ms) < WARM_UP + run.runs:
        for start in range(0, len(pcm), chunk):
            began = time.perf_counter()
            list(stage.push(pcm[start : start + chunk]))
            times_ms.append((time.perf_counter() - began) * 1000)
        list(stage.flush())
        stage = tokenizer.open()
    figures = long_stream(tokenizer.open(), LONG_S)
    rounded = {name: round(value, 3) for name, value in figures.items()}
    print(json.dumps({"bench": "tokenizer.long", "profile": run.profile, **rounded}))
    measured = times_ms[WARM_UP:]
    report("tokenizer.push", run.profile, measured, rtf=float(np.mean(measured)) / GROUP_MS)


if __name__ == "__main__":
    main()
