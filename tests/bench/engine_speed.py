"""Tokens per second of the embedded engine, random weights. Run: python -m tests.bench.engine_speed

Measures a whole answer through `LocalEngine` (event loop, sampling with top-p, KV cache) after a
prompt of 200 known ids, for 1 and 4 streams. Speed does not depend on what the weights hold.
`tokens_per_cpu_s` counts the whole process's CPU time, so it also holds on a busy machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from dataclasses import replace

import torch

from step_audio.core.types import GenerationRequest, SamplingParams
from step_audio.engine.decoder import Precision
from step_audio.engine.local import LocalEngine
from step_audio.engine.step1 import Step1, Step1Config
from step_audio.engine.weights import Step1Weights

SIZES = {
    256: Step1Config(256, 704, 4, 1, 6, 7168),
    320: Step1Config(320, 864, 5, 1, 8, 7168),
    512: Step1Config(512, 1376, 8, 2, 10, 7168),
}
PROMPT = tuple(range(100, 300))
SAMPLING = SamplingParams(temperature=0.7, top_p=0.9, seed=1, repetition_window=10)


async def answer(engine: LocalEngine, tokens: int, first_id: int) -> tuple[float, float]:
    """Return seconds to the first id and from the first to the last."""
    request = GenerationRequest(
        prompt=(first_id, *PROMPT),
        sampling=replace(SAMPLING, max_tokens=tokens),
        stop_ids=frozenset(),
        request_id="bench",
    )
    start = first = time.perf_counter()
    seen = 0
    async for _ in engine.generate(request):
        if not seen:
            first = time.perf_counter()
        seen += 1
    return first - start, time.perf_counter() - first


async def measure(engine: LocalEngine, streams: int, tokens: int) -> dict[str, float]:
    """Return tokens per second of all streams together, and the time to the first id (ms)."""
    await answer(engine, 10, 1)  # warm up
    await asyncio.gather(*(answer(engine, 1, 10 + n) for n in range(streams)))  # the prompts
    busy = time.process_time()
    times = await asyncio.gather(*(answer(engine, tokens, 10 + n) for n in range(streams)))
    busy = time.process_time() - busy
    return {
        "tokens_per_cpu_s": round(streams * tokens / busy),
        "tokens_per_s": round(streams * (tokens - 1) / max(t for _, t in times)),
        "first_token_ms": round(1000 * max(t for t, _ in times), 1),
    }


async def main() -> None:
    """Measure every combination asked for; the last line of stdout is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, nargs="*", default=[320], choices=sorted(SIZES))
    parser.add_argument("--tokens", type=int, default=200)
    args = parser.parse_args()
    precisions: tuple[Precision, ...] = ("float32", "bfloat16", "int8")
    results = []
    for width in args.width:
        model = Step1(SIZES[width])
        model.initialize(torch.Generator().manual_seed(0))
        for precision in precisions:
            weights = Step1Weights(model.config, model.state_dict())
            engine = LocalEngine(weights.decoder(precision))
            for streams in (1, 4):
                result = await measure(engine, streams, args.tokens)
                results.append(
                    {"width": width, "precision": precision, "streams": streams} | result
                )
                print(results[-1])
            await engine.aclose()
    print(json.dumps({"bench": "engine.local", "results": results}))


if __name__ == "__main__":
    asyncio.run(main())
