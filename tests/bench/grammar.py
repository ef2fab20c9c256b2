"""What the automaton costs for an id. Run: python -m tests.bench.grammar

`us` is its whole work for one id (find the mask, add it, follow the id that was drawn), `step_us`
one step of the model at 300 positions, drawing included; both in CPU time, measured in turns.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np
import torch

from step_audio.core.config import load_profile
from step_audio.core.profile import LocalEngineSection
from step_audio.core.types import SamplingParams
from step_audio.core.weights import open_weights
from step_audio.engine.batch import Forms
from step_audio.engine.grammar import Position
from step_audio.engine.sampling import draw
from step_audio.engine.threads import use_threads
from step_audio.engine.weights import load_step1
from tests.bench.measure import setup

POSITIONS, REPEATS = 300, 50


def cost_us(work: Callable[[], object]) -> float:
    """Return the CPU time of one call."""
    began = time.process_time()
    for _ in range(REPEATS):
        work()
    return (time.process_time() - began) / REPEATS * 1e6


def main() -> None:
    """Measure; the last line is JSON."""
    run = setup(__doc__, runs=15)
    profile = load_profile(run.profile)
    assert isinstance(profile.engine, LocalEngineSection), "measures the local engine"
    use_threads(1)
    weights = open_weights(profile.weights, profile.origin)
    folder = weights.folder / profile.engine.folder
    decoder = load_step1(folder).decoder(profile.engine.precision)
    vocab = weights.facts.vocab
    forms = Forms(vocab, decoder.config.vocab_size)
    greedy, generator = SamplingParams(temperature=0.0), torch.Generator()
    cache = decoder.new_cache()
    decoder.extend(torch.arange(20, 20 + POSITIONS)[None], [cache])
    logits = decoder.logits(torch.randn(1, decoder.config.hidden_size))[0]
    sound = vocab.semantic_id(5)

    def step() -> None:
        hidden = decoder.extend(torch.tensor([[sound]]), [cache])
        draw(decoder.logits(hidden[:, -1])[0], greedy, generator)
        cache.length -= 1

    grammar = forms.grammar("answer")

    def automaton() -> None:
        logits + forms.mask(grammar, Position.TWO)
        grammar.follow(Position.TWO, sound)

    cost_us(step)  # warm up
    cost_us(automaton)
    steps, costs = zip(*((cost_us(step), cost_us(automaton)) for _ in range(run.runs)), strict=True)
    us, step_us = float(np.median(costs)), float(np.median(steps))
    line = {"bench": "engine.grammar", "profile": run.profile, "us": round(us, 2)}
    print(json.dumps(line | {"step_us": round(step_us, 1), "share": round(us / step_us, 4)}))


if __name__ == "__main__":
    main()
