"""Generation with a KV cache: equal to itself however it is cut."""

from __future__ import annotations

import pytest
import torch

from step_audio.core.errors import ShapeError
from step_audio.engine.decoder import Step1Decoder
from step_audio.engine.step1 import Step1Config

TOLERANCE = 2e-4


def all_logits(decoder: Step1Decoder, ids: torch.Tensor, piece: int) -> torch.Tensor:
    cache = decoder.new_cache()
    parts = [decoder.extend(part[None], [cache]) for part in torch.split(ids, piece)]
    return decoder.logits(torch.cat(parts, dim=1)[0])


def test_rows_at_different_positions_do_not_see_each_other(
    decoder: Step1Decoder, data: dict[str, torch.Tensor]
) -> None:
    prompts = [data["c4.ids"][:n] for n in (3, 50, 170)]
    caches = [decoder.new_cache() for _ in prompts]
    for ids, cache in zip(prompts, caches, strict=True):
        decoder.extend(ids[None], [cache])
    together = decoder.extend(torch.tensor([[5, 6], [7, 8], [9, 10]]), caches)
    for row, ids in enumerate(prompts):
        alone = decoder.new_cache()
        decoder.extend(ids[None], [alone])
        single = decoder.extend(torch.tensor([[5 + 2 * row, 6 + 2 * row]]), [alone])
        assert (together[row] - single[0]).abs().max() < 1e-5
        assert caches[row].length == len(ids) + 2


def test_a_copied_cache_continues_and_leaves_the_original_alone(
    decoder: Step1Decoder, data: dict[str, torch.Tensor]
) -> None:
    ids = data["c3.ids"]
    original = decoder.new_cache()
    decoder.extend(ids[None], [original])
    before = original.kv[:, :, :, : original.length].clone()
    twin = original.copy(20, room=5)
    got = decoder.logits(decoder.extend(ids[None, 20:], [twin])[0])
    assert (got - data["c3.logits"][20:]).abs().max() < TOLERANCE
    assert torch.equal(original.kv[:, :, :, : original.length], before)


@pytest.mark.parametrize(("precision", "limit"), [("bfloat16", 0.025), ("int8", 0.045)])
def test_small_types_stay_close(
    config: Step1Config,
    state: dict[str, torch.Tensor],
    data: dict[str, torch.Tensor],
    precision: str,
    limit: float,
) -> None:
    # Random weights of width 64 are the worst case; logits have std 1. The reference's own
    # bfloat16 run is up to 0.11 off on a quarter as many positions.
    small = Step1Decoder(config, state, precision)  # type: ignore[arg-type]
    for piece in (1, 100):  # the int8 kernel, and dequantised rows
        gap = all_logits(small, data["c3.ids"], piece) - data["c3.logits"]
        assert gap.std() < limit
        assert gap.abs().max() < 10 * limit


def test_tied_embeddings_serve_as_the_head(
    config: Step1Config, state: dict[str, torch.Tensor]
) -> None:
    rest = {k: v for k, v in state.items() if k != "lm_head.weight"}
    tied = Step1Decoder(config, rest)
    hidden = tied.extend(torch.tensor([[1, 2]]), [tied.new_cache()])[0]
    want = hidden @ state["model.embed_tokens.weight"].T
    assert torch.allclose(tied.logits(hidden), want, atol=1e-5)


def test_the_context_is_bounded(decoder: Step1Decoder, config: Step1Config) -> None:
    cache = decoder.new_cache()
    decoder.extend(torch.ones(1, config.max_seq_len, dtype=torch.int64), [cache])
    with pytest.raises(ShapeError, match="512 \\+ 1 positions exceed max_seq_len 512"):
        decoder.extend(torch.tensor([[1]]), [cache])
    with pytest.raises(ShapeError, match="2 rows of ids for 1 caches"):
        decoder.extend(torch.tensor([[1], [1]]), [cache])


def test_int8_is_refused_off_the_cpu(config: Step1Config, state: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ShapeError, match="int8 runs on the CPU only"):
        Step1Decoder(config, state, "int8", "cuda:0")
