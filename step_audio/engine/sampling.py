"""From one row of logits to one id: pure functions, all randomness from a passed generator.

Order as in the published demos: processors (repetition) first, then temperature, top-k, top-p.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from step_audio.core.errors import EngineError, InputError
from step_audio.core.types import SamplingParams

# Nearly always more than enough for top-p; a full sort is the fallback.
_NUCLEUS_GUESS = 256


def check_sampling(params: SamplingParams) -> None:
    """Raise InputError when a parameter is outside its range; the message names it."""
    if not (math.isfinite(params.temperature) and params.temperature >= 0):
        raise InputError(f"temperature is {params.temperature}, expected 0 (greedy) or more")
    if not 0 < params.top_p <= 1:
        raise InputError(f"top_p is {params.top_p}, expected above 0 and at most 1")
    for name in ("top_k", "max_tokens", "repetition_window"):
        if getattr(params, name) < 0:
            raise InputError(f"{name} is {getattr(params, name)}, expected 0 or more")


def range_mask(ranges: Iterable[tuple[int, int]], size: int) -> Tensor:
    """Return what to add to (V,) logits so that only ids of half-open ranges can be drawn."""
    mask = torch.full((size,), -math.inf)
    for low, high in ranges:
        mask[low:high] = 0.0
    return mask


def repeated_id(history: Sequence[int], window: int) -> int | None:
    """Return the last id when it occurs at least twice in the last `window` ids, else None.

    Args:
        history: prompt and generated ids; shorter than the window: None.

    Source: repetition-aware processor of the published TTS demo, window 10, threshold 0.1.
    """
    if window < 1 or len(history) < window:
        return None
    last = history[-1]
    return last if list(history[-window:]).count(last) >= 2 else None


def forbid(logits: Tensor, token_id: int) -> Tensor:
    """Return a copy of (V,) logits without one id, unless nothing else could be drawn."""
    kept = logits.clone()
    kept[token_id] = -math.inf
    return kept if bool(kept.max() > -math.inf) else logits


def draw(logits: Tensor, params: SamplingParams, generator: torch.Generator) -> int:
    """Draw an id from (V,) float32 logits.

    Temperature 0 takes the largest (the lower id on a tie) and draws nothing from the
    generator. Ids equal to the k-th largest are all kept by top-k. Top-p keeps the fewest
    likeliest ids whose probabilities reach p, at least one.

    Raises:
        EngineError: no finite logit, or NaN: the model is broken.
    """
    top = logits.max()
    if not bool(torch.isfinite(top)):
        raise EngineError("the model's logits are not finite; check the weights")
    if params.temperature == 0:
        return int(logits.argmax())
    # float64: a tiny temperature must sharpen, not overflow.
    scaled = (logits - top).double() / params.temperature
    if 0 < params.top_k < scaled.numel():
        least = scaled.topk(params.top_k).values[-1]
        scaled = scaled.masked_fill(scaled < least, -math.inf)
    probs = scaled.softmax(0)
    if params.top_p < 1:
        probs, ids = _nucleus(probs, params.top_p)
        return int(ids[_pick(probs, generator)])
    return _pick(probs, generator)


def _nucleus(probs: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Return the kept probabilities and their ids, in the order of the ids: by likelihood, two that
    are nearly as likely would change places with the rounding of a batch, and so would the draw."""
    values, ids = probs.topk(min(_NUCLEUS_GUESS, probs.numel()))
    reached = values.cumsum(0)
    if reached[-1] < top_p:
        values, ids = probs.sort(descending=True)
        reached = values.cumsum(0)
    count = int((reached < top_p).sum()) + 1
    kept, order = ids[:count].sort()
    return values[:count][order], kept


def _pick(probs: Tensor, generator: torch.Generator) -> int:
    """Invert the cumulative distribution at one uniform draw; never an id of probability 0."""
    reached = probs.cumsum(0)
    # 1 - u is in (0, 1]: with the left side, a step of height 0 can never be hit.
    point = (1 - torch.rand((), generator=generator, dtype=torch.float64)) * reached[-1]
    return int(torch.searchsorted(reached, point))
