"""Speed of the LM. Run: python -m tests.bench.engine

Times are from the request to the first id, after a prompt of 150 ids (a question of 3 s);
`ids_per_s` is the pace from then on: gap-free speech needs 41.7, with its text 69.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

import numpy as np

from step_audio.core.ports import Services
from step_audio.core.types import GenerationRequest, SamplingParams
from step_audio.dialog.response.token_stream import TokenTimeouts, generate
from tests.bench.measure import report, setup

PROMPT_IDS, IDS, WARM_UP = 150, 200, 2


async def measure(services: Services, seed: int) -> tuple[float, float]:
    """Return (ms to the first id, ids per second after it)."""
    vocab = services.vocab
    prompt = np.random.default_rng(seed).integers(vocab.audio_base, vocab.size, PROMPT_IDS)
    request = GenerationRequest(
        prompt=(vocab.bos, *prompt.tolist()),
        sampling=SamplingParams(seed=seed, max_tokens=IDS),
        stop_ids=frozenset(),
        request_id=f"bench-{seed}",
        form="speech",
    )
    began = time.perf_counter()
    at: list[float] = []
    async with aclosing(generate(services.engine, request, TokenTimeouts(60, 60))) as ids:
        async for _ in ids:
            at.append(time.perf_counter())
    return (at[0] - began) * 1000, (len(at) - 1) / (at[-1] - at[0])


async def main() -> None:
    """Generate audio ids after random prompts."""
    run = setup(__doc__, runs=10)
    services = run.parts.services()
    pairs = [await measure(services, seed) for seed in range(WARM_UP + run.runs)]
    await services.engine.aclose()
    first_ms, pace = zip(*pairs[WARM_UP:], strict=True)
    report("engine.first_id", run.profile, first_ms, ids_per_s=float(np.median(pace)))


if __name__ == "__main__":
    asyncio.run(main())
