"""Sessions coming and going for a long time; memory and file handles must stay flat.

Run: python -m tests.bench.soak --minutes 30 (make soak). No models: the scripted profile in a
process of its own. Callers stay for a few turns or drop in the middle of one. Memory and handles
are the server's own, read at /metrics; the first third is warm-up, the rest is compared, its first
half with its last. The last line is JSON; exit code 1 when something grew.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from dataclasses import dataclass, replace

import httpx
import numpy as np

from step_audio.eval.callers import RATE_HZ, Caller, CallPlan, CallReport
from tests.bench.load import serving
from tests.bench.measure import speechlike

GROWTH_MB, GROWTH_FDS = 8.0, 5
SAMPLE_S = 2.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The server at one moment."""

    memory_mb: float
    handles: float
    sessions: float


async def look(url: str) -> Sample:
    """Read the server's own figures."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(url, timeout=30)).text
    rows = dict(row.rsplit(" ", 1) for row in text.splitlines() if not row.startswith("#"))
    return Sample(
        float(rows["process_resident_memory_bytes"]) / 1e6,
        float(rows["process_open_fds"]),
        float(rows["step_audio_sessions"]),
    )


async def come_and_go(plan: CallPlan, until_s: float, seed: int, calls: list[CallReport]) -> None:
    """Make calls one after the other; one in four is dropped half way."""
    rng = random.Random(seed)
    while time.monotonic() < until_s:
        caller = Caller(replace(plan, turns=rng.randint(1, 3)), rng.randrange(1 << 30))
        patience_s = rng.uniform(0.5, 3.0) if rng.random() < 0.25 else 120.0
        try:
            async with asyncio.timeout(patience_s):
                calls.append(await caller.call())
        except TimeoutError:
            calls.append(caller.report)
        await asyncio.sleep(rng.uniform(0.0, 0.5))


async def soak(url: str, minutes: float, callers: int) -> dict[str, object]:
    """Return what came of it."""
    question = speechlike(0.8, RATE_HZ)
    manual = CallPlan(url, 1, [question], manual=True, pause_s=0.4)
    end_s = time.monotonic() + minutes * 60
    calls: list[CallReport] = []
    crowd = [
        asyncio.create_task(come_and_go(replace(manual, manual=n % 2 == 0), end_s, n, calls))
        for n in range(callers)
    ]
    samples: list[Sample] = []
    metrics = f"http://{url.split('/')[2]}/metrics"
    while time.monotonic() < end_s:
        await asyncio.sleep(SAMPLE_S)
        samples.append(await look(metrics))
    await asyncio.gather(*crowd)
    await asyncio.sleep(1.0)
    left = await look(metrics)
    return {**_figures(samples), "sessions_left": left.sessions, **_answers(calls)}


def _figures(samples: list[Sample]) -> dict[str, object]:
    late = samples[len(samples) // 3 :]
    halves = late[: len(late) // 2], late[len(late) // 2 :]
    memory = [float(np.median([one.memory_mb for one in half])) for half in halves]
    handles = [float(np.median([one.handles for one in half])) for half in halves]
    flat = memory[1] - memory[0] < GROWTH_MB and handles[1] - handles[0] < GROWTH_FDS
    return {
        "flat": flat,
        "memory_mb": [round(mb, 1) for mb in memory],
        "handles": handles,
        "sessions_most": max(one.sessions for one in samples),
    }


def _answers(calls: list[CallReport]) -> dict[str, object]:
    heard = [one for call in calls for one in call.heard]
    return {
        "calls": len(calls),
        "questions": len(heard),
        "answered": sum(one.first_audio_s is not None for one in heard),
        "refused": sum(call.refused for call in calls),
        "errors": sum(len(call.errors) for call in calls),
    }


def main() -> None:
    """Soak and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--callers", type=int, default=8)
    args = parser.parse_args()
    with serving("scripted", {}) as (url, _):
        figures = asyncio.run(soak(url, args.minutes, args.callers))
    print(json.dumps({"bench": "soak", "minutes": args.minutes, **figures}))
    if not figures["flat"] or figures["sessions_left"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
