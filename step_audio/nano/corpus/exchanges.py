"""Questions and answers of nano's domain as exchanges of a data set (`data write`)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from step_audio.data.tags import Tags
from step_audio.data.write import Exchange
from step_audio.nano.domain import QaSample, Split, generate


def grammar(
    count: int, seed: int, *, styles: bool = False, half: Split = "train"
) -> Iterator[Exchange]:
    """Yield exchanges of nano's domain from one half of its grammar.

    Args:
        styles: draw a speed and now and then an emotion for the answers.
        half: nano is trained on "train" and never on "held".
    """
    rng = random.Random(seed)
    made = 0
    while made < count:
        sample = generate(rng, half)
        if not sample.question:  # sound without speech is no text
            continue
        made += 1
        exchange = _exchange(sample, seed)
        if styles:
            emotion = rng.choice(("", "", "happy", "sad", "angry"))
            tags = Tags(speed=rng.randint(1, 5), emotion=emotion, intensity=rng.randint(1, 2))
            exchange = replace(exchange, tags=tags)
        yield exchange


def _exchange(sample: QaSample, seed: int) -> Exchange:
    return Exchange(
        sample.question,
        sample.answer,
        sample.call,
        sample.result,
        tuple(_exchange(past, seed) for past in sample.history if past.question),
        source={"by": "grammar", "carrier": sample.carrier, "seed": seed},
    )
