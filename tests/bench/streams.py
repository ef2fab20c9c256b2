"""First chunk and real-time factor of 1, 8 and 32 streams on one device. Run: make test-gpu

The vocoder at the published size with random weights, streams that begin together and whose
groups are there at once: `first_s` until each stream's first sound, the median and the worst;
`rtf` work over sound, of all streams together, and of the slowest alone. On CUDA also what the
launches of one pass cost: the estimator and HiFT as they are and as CUDA graphs. JSON, one line
a number of streams.
"""

from __future__ import annotations

import argparse
import functools
import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.bench.vocoder_full import PLAN, groups_of, models, voice_with
from vocoder.grid import SAMPLE_RATE_HZ
from vocoder.hift_stream import HiftStream
from vocoder.stream import FlowVocoder


def graphed(call: Callable[..., Tensor], example: Sequence[Tensor]) -> Callable[..., Tensor]:
    """Record a call as a CUDA graph and return what replays it; shapes are the example's.

    The result is overwritten by the next replay.
    """
    held = [one.clone() for one in example]
    beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):  # libraries choose their kernels outside of the recording
            call(*held)
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = call(*held)

    def replay(*given: Tensor) -> Tensor:
        for kept, new in zip(held, given, strict=True):
            kept.copy_(new)
        graph.replay()
        return out

    return replay


def speak(vocoder: FlowVocoder, streams: int, seconds: float) -> list[tuple[float, float, float]]:
    """Return of each stream: seconds to its first sound, to its last, and of sound."""
    voice, said = voice_with(0), groups_of(seconds)
    together = threading.Barrier(streams, timeout=300)

    def one(seed: int) -> tuple[float, float, float]:
        stream, samples, first_s = vocoder.open(voice, seed), 0, 0.0
        together.wait()
        begun = time.perf_counter()
        for number in range(len(said) + 1):
            for piece in stream.flush() if number == len(said) else stream.push(said[number]):
                samples += len(piece)
                first_s = first_s or time.perf_counter() - begun
        return first_s, time.perf_counter() - begun, samples / SAMPLE_RATE_HZ

    with ThreadPoolExecutor(streams) as pool:
        return list(pool.map(one, range(streams)))


def measured(vocoder: FlowVocoder, streams: int, seconds: float) -> dict[str, Any]:
    """Return the figures of so many streams."""
    found = speak(vocoder, streams, seconds)
    first, last, sound = (np.array(column) for column in zip(*found, strict=True))
    return {
        "streams": streams,
        "first_s": round(float(np.median(first)), 4),
        "first_worst_s": round(float(first.max()), 4),
        "rtf": round(float(last.max() / sound.sum()), 4),
        "rtf_slowest": round(float((last / sound).max()), 4),
    }


def launches(device: str, precision: str, repeats: int = 50) -> dict[str, float]:
    """Return milliseconds of one pass of HiFT over 50 frames, plain and as a graph."""
    _, hift = models(device, precision)
    mel = torch.randn(1, 80, 50, device=device)
    source = torch.randn(1, 1, 50 * 256, device=device)
    found = {}
    with torch.inference_mode():
        for name, call in (("plain", hift.decode), ("graph", graphed(hift.decode, [mel, source]))):
            for _ in range(5):
                call(mel, source)
            torch.cuda.synchronize()
            begun = time.perf_counter()
            for _ in range(repeats):
                call(mel, source)
            torch.cuda.synchronize()
            found[name] = round(1000 * (time.perf_counter() - begun) / repeats, 3)
    return found


def main() -> None:
    """Print one line a precision and number of streams."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--streams", default="1,8,32")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each stream")
    parser.add_argument("--steps", type=int, help="Euler steps (10)")
    args = parser.parse_args()
    cuda = args.device.startswith("cuda")
    name = torch.cuda.get_device_name(args.device) if cuda else "cpu"
    for precision in ("float32", "bfloat16") if cuda else ("float32",):
        flow, hift = models(args.device, precision)
        for streams in map(int, args.streams.split(",")):
            vocoder = FlowVocoder(
                flow,
                functools.partial(HiftStream, hift),
                plan=PLAN,
                n_steps=args.steps,
                max_batch=streams,
            )
            speak(vocoder, streams, 1.0)  # warms up
            line = {"bench": "streams", "device": name, "precision": precision}
            print(json.dumps(line | measured(vocoder, streams, args.seconds)), flush=True)
        if cuda:
            line = {"bench": "graphs", "device": name, "precision": precision}
            print(json.dumps(line | {"hift_ms": launches(args.device, precision)}), flush=True)


if __name__ == "__main__":
    main()
