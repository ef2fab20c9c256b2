"""The published vocoder's size, random weights. Run: python -m tests.bench.vocoder_full

One process measures, one after the other: one-shot (the same modules over all groups at once, then
the whole mel decoded) and streaming as the profiles of published models cut it. Groups arrive at
once, so times are work alone. `first_s`: until the first sound is there; `rtf`: work over sound,
`upto` for the first 2, 10 and 60 s of one stream; `gflop`: multiplications and additions per second
of sound, which no busy machine changes, counted in a run of its own, because counting takes time.
CPU: CPU time of this process. CUDA, where there is one, is measured too, in float32 and bfloat16:
time on the clock.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from step_audio.core.blas import one_blas_thread
from step_audio.core.types import TokenGroup, Voice
from vocoder.flow import FlowModel
from vocoder.flow_config import FlowConfig
from vocoder.grid import SAMPLE_RATE_HZ, frames_until
from vocoder.hift import HiftConfig, HiftGenerator
from vocoder.hift_stream import HiftStream
from vocoder.stream import ChunkPlan, FlowVocoder
from vocoder.weight_norm import fold_weight_norm

PLAN = ChunkPlan(sizes=(3, 5, 8, 12, 16))
UPTO_S = (2, 10, 60)


def models(device: str, precision: str) -> tuple[FlowModel, HiftGenerator]:
    """Return both models at the published sizes."""
    torch.manual_seed(0)
    flow, hift = FlowModel(FlowConfig()).eval(), HiftGenerator(HiftConfig()).eval()
    fold_weight_norm(hift)
    flow, hift = flow.requires_grad_(False).to(device), hift.requires_grad_(False).to(device)
    if precision == "bfloat16":
        flow.decoder.estimator.bfloat16()
    return flow, hift


def groups_of(seconds: float) -> list[TokenGroup]:
    """Return random groups; they cost what speech costs."""
    rng = np.random.default_rng(0)
    pairs = rng.integers(1024, size=(round(seconds / 0.12), 2)).tolist()
    triples = rng.integers(4096, size=(len(pairs), 3)).tolist()
    return [TokenGroup((a, b), (c, d, e)) for (a, b), (c, d, e) in zip(pairs, triples, strict=True)]


def voice_with(prompt: int) -> Voice:
    """Return a voice with an example of so many groups."""
    mel = np.random.default_rng(1).standard_normal((frames_until(prompt), 80)) - 5
    vector = np.random.default_rng(2).standard_normal(192).astype(np.float32)
    return Voice("bench", vector, "", tuple(groups_of(prompt * 0.12)), mel.astype(np.float32))


def measure(
    vocoder: FlowVocoder, voice: Voice, seconds: float, clock: Callable[[], float]
) -> dict[str, Any]:
    """Return the cost of one stream."""
    stream, samples, first_s = vocoder.open(voice), 0, 0.0
    upto: dict[str, float] = {}
    begun = clock()
    said = groups_of(seconds)
    for number in range(len(said) + 1):
        last = number == len(said)
        for piece in stream.flush() if last else stream.push(said[number]):
            samples += len(piece)
            first_s = first_s or clock() - begun
        sound_s = samples / SAMPLE_RATE_HZ
        for wanted in UPTO_S:
            if str(wanted) not in upto and sound_s >= wanted - 0.06:
                upto[str(wanted)] = round((clock() - begun) / sound_s, 3)
    rtf = (clock() - begun) / (samples / SAMPLE_RATE_HZ)
    return {"first_s": round(first_s, 3), "rtf": round(rtf, 3), "upto": upto}


def gflop(vocoder: FlowVocoder, voice: Voice, seconds: float) -> float:
    """Return 10^9 operations per second of sound."""
    stream, samples = vocoder.open(voice), 0
    with FlopCounterMode(display=False) as counted:
        for group in groups_of(seconds):
            samples += sum(len(piece) for piece in stream.push(group))
        samples += sum(len(piece) for piece in stream.flush())
    return round(float(counted.get_total_flops()) / 1e9 / (samples / SAMPLE_RATE_HZ), 1)


def compare(device: str, precision: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return both ways on one device."""
    flow, hift = models(device, precision)

    def synchronised() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    clock = time.process_time if device == "cpu" else synchronised
    vocoder = FlowVocoder(
        flow, lambda seed: HiftStream(hift, seed), plan=PLAN, n_steps=args.steps, max_batch=1
    )
    voice = voice_with(args.prompt)
    measure(vocoder, voice, 1.0, clock)  # warms up
    one_piece = vocoder.in_one_piece()
    whole = measure(one_piece, voice, args.seconds, clock)
    streamed = measure(vocoder, voice, args.long, clock)
    counts = {"whole": gflop(one_piece, voice, 4.0), "streaming": gflop(vocoder, voice, 4.0)}
    return {
        "bench": "vocoder.full",
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "precision": precision,
        "prompt_s": round(args.prompt * 0.12, 2),
        "gflop": counts,
        "whole": whole | {"seconds": args.seconds},
        "streaming": streamed | {"seconds": args.long},
        "sooner": round(whole["first_s"] / streamed["first_s"], 1),
    }


def main() -> None:
    """Measure and print one line a device and precision."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", help="not used: the sizes are the published ones")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the one-shot answer")
    parser.add_argument("--long", type=float, default=60.0, help="of the stream")
    parser.add_argument("--prompt", type=int, default=0, help="groups of the voice's example")
    parser.add_argument("--steps", type=int, help="Euler steps (10)")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    one_blas_thread()
    ways = [("cpu", "float32")]
    if torch.cuda.is_available():
        ways += [("cuda", "float32"), ("cuda", "bfloat16")]
    for device, precision in ways:
        print(json.dumps(compare(device, precision, args)), flush=True)


if __name__ == "__main__":
    main()
