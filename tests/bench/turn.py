"""A whole turn, from the end of the question to the first sound. Run: python -m tests.bench.turn

The question arrives as it would be spoken, so at its end only a flush is left. `rtf`: time from
the end of the question to the last sound, over the length of the answer. The question is a
noise that costs what speech costs and means nothing.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import numpy as np

from step_audio.core.types import GROUP_MS, AudioChunk
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.conversation import Conversation, UserAudio
from tests.bench.measure import report, setup, speechlike

RATE_HZ, SECONDS, WARM_UP = 24000, 2.5, 1


async def turn(assistant: Assistant, seed: int) -> tuple[float, float]:
    """Return (ms to the first sound, real-time factor); (inf, inf) for an answer without sound."""
    settings = assistant.settings
    question, pcm = assistant.question(RATE_HZ), speechlike(SECONDS, RATE_HZ)
    step = RATE_HZ * GROUP_MS // 1000
    for start in range(0, len(pcm), step):
        await assistant.listen(question, pcm[start : start + step])
    began, first_s, samples, rate_hz = time.perf_counter(), 0.0, 0, 1
    conversation = Conversation()
    conversation.add(UserAudio.spoken("question", await assistant.finish(question)))
    sampling = replace(settings.sampling, seed=seed)
    async for event in assistant.answer(conversation, sampling=sampling):
        if isinstance(event, AudioChunk):
            first_s = first_s or time.perf_counter() - began
            samples, rate_hz = samples + len(event.pcm), event.rate_hz
    if not samples:
        return float("inf"), float("inf")
    return first_s * 1000, (time.perf_counter() - began) / (samples / rate_hz)


async def main() -> None:
    """Ask and listen, several times."""
    run = setup(__doc__, runs=10)
    assistant = Assistant(run.parts.services(), run.parts.settings())
    pairs = [await turn(assistant, seed) for seed in range(WARM_UP + run.runs)]
    await assistant.aclose()
    spoken = [pair for pair in pairs[WARM_UP:] if np.isfinite(pair[0])]
    if not spoken:
        raise SystemExit("no answer had sound: nothing to measure")
    first_ms, rtf = zip(*spoken, strict=True)
    p95 = float(np.percentile(rtf, 95))
    report("turn.first_sound", run.profile, first_ms, rtf=float(np.median(rtf)), rtf_p95=p95)


if __name__ == "__main__":
    asyncio.run(main())
