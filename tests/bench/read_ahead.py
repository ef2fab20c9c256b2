"""First id after a spoken question of 1 to 20 s. Run: python -m tests.bench.read_ahead

Without: the whole question is new to the engine when it ends. With: the engine was told of it every
0.48 s while it was spoken, as sessions do. With it the time should not depend on the length.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import aclosing

import numpy as np

from step_audio.core.ports import Services
from step_audio.core.types import GenerationRequest, SamplingParams, TokenGroup
from step_audio.dialog.prompting.context_window import ContextWindow
from step_audio.dialog.prompting.conversation import Conversation, UserAudio
from step_audio.dialog.prompting.prompt import PromptBuilder
from step_audio.dialog.response.token_stream import TokenTimeouts, generate
from tests.bench.measure import setup

SECONDS = (1, 2, 5, 10, 20)
EVERY_GROUPS = 4


def spoken(seconds: float, seed: int) -> tuple[TokenGroup, ...]:
    """Return groups of a question that no engine has seen."""
    draw = np.random.default_rng(seed)
    codes = draw.integers((1024, 1024, 4096, 4096, 4096), size=(int(seconds / 0.12), 5)).tolist()
    return tuple(TokenGroup((a, b), (c, d, e)) for a, b, c, d, e in codes)


async def first_id_ms(
    services: Services, context: ContextWindow, question: tuple[TokenGroup, ...], *, ahead: bool
) -> float:
    """Return the time from the end of the question to the first id."""
    talk = Conversation()
    if ahead:
        for length in range(0, len(question), EVERY_GROUPS):
            prefix = context.so_far(talk, "", question[:length])
            await services.engine.prefill(prefix, "bench")
    talk.add(UserAudio("q", question))
    began = time.perf_counter()
    request = GenerationRequest(
        prompt=context.prompt(talk, "").ids,
        sampling=SamplingParams(temperature=0.0, max_tokens=1),
        stop_ids=frozenset(),
        request_id="bench",
        session="bench",
    )
    async with aclosing(generate(services.engine, request, TokenTimeouts(60, 60))) as ids:
        async for _ in ids:
            break
    return (time.perf_counter() - began) * 1000


async def main() -> None:
    """Measure each length with and without, alternating; the last line is JSON."""
    run = setup(__doc__, runs=7)
    services, settings = run.parts.services(), run.parts.settings()
    builder = PromptBuilder(services.text_tokenizer, services.vocab)
    context = ContextWindow(builder, services.vocab, max_ids=settings.max_prompt_ids)
    await first_id_ms(services, context, spoken(2, 9999), ahead=False)  # warm up
    out: dict[str, dict[str, float]] = {"with_ms": {}, "without_ms": {}}
    for seconds in SECONDS:
        times: dict[bool, list[float]] = {True: [], False: []}
        for turn in range(2 * run.runs):
            ahead = turn % 2 == 0
            question = spoken(seconds, 100 * seconds + turn)
            times[ahead].append(await first_id_ms(services, context, question, ahead=ahead))
        for ahead, name in ((True, "with_ms"), (False, "without_ms")):
            out[name][str(seconds)] = round(float(np.median(times[ahead])), 2)
    await services.engine.aclose()
    growth = out["with_ms"][str(SECONDS[-1])] / out["with_ms"][str(SECONDS[0])]
    line = {"bench": "engine.read_ahead", "profile": run.profile, **out}
    print(json.dumps(line | {"growth_with": round(growth, 2)}))


if __name__ == "__main__":
    asyncio.run(main())
