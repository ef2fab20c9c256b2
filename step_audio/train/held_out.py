"""Loss of a checkpoint on given answers, and answers drawn from it: the figures of a comparison."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

from step_audio.core.errors import StepAudioError
from step_audio.core.types import GenerationRequest, SamplingParams
from step_audio.core.vocab import Vocab
from step_audio.engine.local import LocalEngine
from step_audio.engine.weights import load_step1
from step_audio.train.scoring import Scorer

Pair = tuple[Sequence[int], Sequence[int]]
"""Ids of a prompt, and of the right answer to it."""
AT_ONCE: Final = 16
"""Answers that are drawn together."""


def losses(checkpoint: Path, pairs: Sequence[Pair], vocab: Vocab) -> dict[str, float]:
    """Return nats a text id and an audio id of the right answers."""
    scorer = Scorer(load_step1(checkpoint).module())
    sums = {"text": 0.0, "audio": 0.0}
    counts = {"text": 0, "audio": 0}
    for prompt, right in pairs:
        ids = torch.tensor([[*prompt, *right]])
        wanted = torch.zeros_like(ids, dtype=torch.bool)
        wanted[:, len(prompt) :] = True
        with torch.no_grad():
            each = -scorer(ids, wanted)
        audio = torch.tensor([vocab.is_audio(token_id) for token_id in right])
        for name, chosen in (("text", ~audio), ("audio", audio)):
            sums[name] += float(each[chosen].sum())
            counts[name] += int(chosen.sum())
    return {f"{name} nats": sums[name] / max(1, counts[name]) for name in sums}


def answers(
    checkpoint: Path, prompts: Sequence[Sequence[int]], vocab: Vocab, max_tokens: int
) -> list[list[int]]:
    """Return the greedy answer to each prompt, any id allowed: what the model does unaided."""
    engine = LocalEngine(load_step1(checkpoint).decoder(), max_streams=AT_ONCE)
    turns = asyncio.Semaphore(AT_ONCE)

    async def answer(number: int, prompt: Sequence[int]) -> list[int]:
        async with turns:
            return await _answer(engine, prompt, vocab, max_tokens, str(number))

    async def run() -> list[list[int]]:
        made = await asyncio.gather(*(answer(n, prompt) for n, prompt in enumerate(prompts)))
        await engine.aclose()
        return made

    return asyncio.run(run())


async def _answer(
    engine: LocalEngine, prompt: Sequence[int], vocab: Vocab, max_tokens: int, name: str
) -> list[int]:
    request = GenerationRequest(
        prompt=tuple(prompt),
        sampling=SamplingParams(temperature=0.0, max_tokens=max_tokens),
        stop_ids=frozenset({vocab.eot}),
        request_id=name,
    )
    try:
        return [token_id async for token_id in engine.generate(request)]
    except StepAudioError:
        return []
