"""Cost of speech from token groups, one thread. Run: python -m tests.bench.vocoder_windows

Without `--flow` and `--hift` (files that the loaders read) the nano shapes get random weights,
which cost the same. CPU seconds of this process, so that a busy machine does not change them.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from step_audio.core.types import TokenGroup, Voice
from vocoder.flow import FlowModel
from vocoder.flow_config import nano_flow
from vocoder.flow_loading import load_flow
from vocoder.hift import HiftConfig, HiftGenerator
from vocoder.hift_stream import HiftStream
from vocoder.loading import load_hift
from vocoder.stream import ChunkPlan, FlowVocoder

NANO_HIFT = HiftConfig(
    base_channels=128,
    f0_channels=128,
    resblock_dilation_sizes=((1, 3), (1, 3), (1, 3)),
    source_resblock_dilation_sizes=((1, 3), (1, 3)),
)


def build(args: argparse.Namespace) -> FlowVocoder:
    """Return the vocoder to measure."""
    flow = load_flow(Path(args.flow)) if args.flow else FlowModel(nano_flow()).eval()
    hift = load_hift(Path(args.hift)) if args.hift else HiftGenerator(NANO_HIFT).eval()
    plan = ChunkPlan(sizes=tuple(args.sizes), context=args.context)
    return FlowVocoder(flow, lambda seed: HiftStream(hift, seed), plan=plan, n_steps=args.steps)


def measure(vocoder: FlowVocoder, groups: int) -> dict[str, float]:
    """Return the cost of the first chunk, of the slowest push, and of a second of sound."""
    rng = np.random.default_rng(0)
    voice = Voice("bench", rng.standard_normal(192).astype(np.float32))
    stream = vocoder.open(voice)
    costs, sounding, samples = [], [], 0
    for _ in range(groups):
        a, b = (int(c) for c in rng.integers(1024, size=2))
        c, d, e = (int(c) for c in rng.integers(4096, size=3))
        begun = time.process_time()
        pieces = stream.push(TokenGroup((a, b), (c, d, e)))
        costs.append(time.process_time() - begun)
        samples += sum(map(len, pieces))
        if pieces:
            sounding.append((costs[-1], sum(map(len, pieces)) / vocoder.sample_rate_hz))
    return {
        "first_ms": 1000 * sounding[0][0],
        "first_sound_ms": 1000 * sounding[0][1],
        "slowest_ms": 1000 * max(costs),
        "rtf": sum(costs) / (samples / vocoder.sample_rate_hz),
        "rtf_steady": sum(c for c, _ in sounding[4:]) / sum(s for _, s in sounding[4:]),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flow")
    parser.add_argument("--hift")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--context", type=int, default=4)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 3, 5, 8])
    parser.add_argument("--groups", type=int, default=100)
    args = parser.parse_args()
    torch.set_num_threads(1)
    vocoder = build(args)
    measure(vocoder, 60)  # warms up
    figures = measure(vocoder, args.groups)
    print(json.dumps({"bench": "vocoder.windows"} | {k: round(v, 4) for k, v in figures.items()}))


if __name__ == "__main__":
    main()
