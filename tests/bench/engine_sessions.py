"""Pace of the local engine by sessions. Run: python -m tests.bench.engine_sessions

Each session takes the likeliest id, 120 times, after a prompt of 150 ids. Per session, speech
without gaps needs 41.7 ids a second, 69 with its text. `ids_per_cpu_s` counts CPU time, so it also
holds on a busy machine.
"""

from __future__ import annotations

import asyncio
import json
import time

import numpy as np

from step_audio.core.config import load_profile
from step_audio.core.ports import Services
from step_audio.core.types import GenerationRequest, SamplingParams
from step_audio.dialog.response.token_stream import TokenTimeouts, generate
from step_audio.runtime import Runtime
from tests.bench.measure import setup

PROMPT_IDS, IDS = 150, 120
SESSIONS = (1, 4, 16)


async def draw(services: Services, seed: int) -> int:
    """Draw the ids of one session and return how many."""
    vocab = services.vocab
    prompt = np.random.default_rng(seed).integers(vocab.audio_base, vocab.size, PROMPT_IDS)
    request = GenerationRequest(
        prompt=(vocab.bos, *prompt.tolist()),
        sampling=SamplingParams(temperature=0.0, seed=seed, max_tokens=IDS),
        stop_ids=frozenset(),
        request_id=f"bench-{seed}",  # of no form, in which what it draws could end early
    )
    count = 0
    async for _ in generate(services.engine, request, TokenTimeouts(300, 300)):
        count += 1
    assert count == IDS, f"only {count} ids came"
    return count


async def measure(services: Services, sessions: int, seed: int) -> tuple[float, float]:
    """Return ids per second of all sessions together, by the clock and by CPU time."""
    began, busy = time.perf_counter(), time.process_time()
    counts = await asyncio.gather(*(draw(services, seed + n) for n in range(sessions)))
    total = sum(counts)
    return total / (time.perf_counter() - began), total / (time.process_time() - busy)


async def main() -> None:
    """Measure each number of sessions several times; the last line is JSON."""
    run = setup(__doc__, runs=3)
    profile = load_profile(run.profile)
    limits = profile.limits.model_copy(update={"max_sessions": max(SESSIONS)})
    services = Runtime(profile.model_copy(update={"limits": limits})).services()
    await measure(services, 2, 1000)  # warm up
    results = {}
    for sessions in SESSIONS:
        seen = [await measure(services, sessions, 100 * n) for n in range(run.runs)]
        wall, cpu = (float(np.median(column)) for column in zip(*seen, strict=True))
        results[str(sessions)] = {
            "ids_per_s": round(wall, 1),
            "ids_per_s_each": round(wall / sessions, 1),
            "ids_per_cpu_s": round(cpu, 1),
        }
    await services.engine.aclose()
    print(json.dumps({"bench": "engine.sessions", "profile": run.profile, "sessions": results}))


if __name__ == "__main__":
    asyncio.run(main())
