"""Drawing one id: the filters' definitions, seeds."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from step_audio.core.errors import EngineError, InputError
from step_audio.core.types import SamplingParams
from step_audio.engine.sampling import check_sampling, draw, forbid, range_mask


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(logits: torch.Tensor, params: SamplingParams, times: int = 400) -> list[int]:
    source = generator()
    return [draw(logits, params, source) for _ in range(times)]


def test_the_only_candidate_is_never_forbidden() -> None:
    logits = range_mask([(3, 4)], 8)
    assert torch.equal(forbid(logits, 3), logits)


def test_a_mask_leaves_the_ranges_and_nothing_else() -> None:
    logits = torch.arange(8.0) + range_mask([(2, 4), (7, 8)], 8)
    assert [i for i in range(8) if logits[i] > -math.inf] == [2, 3, 7]
    assert logits[3] == 3


def test_temperature_0_is_greedy_and_draws_nothing() -> None:
    source = generator()
    state = source.get_state()
    logits = torch.tensor([0.0, 2.0, 2.0, 1.0])
    assert draw(logits, SamplingParams(temperature=0.0), source) == 1
    assert torch.equal(source.get_state(), state)


def test_frequencies_follow_the_softmax() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -math.inf])
    ids = drawn(logits, SamplingParams(temperature=0.5), 4000)
    want = (logits / 0.5).softmax(0)
    for token_id in range(4):
        assert abs(ids.count(token_id) / len(ids) - float(want[token_id])) < 0.03


def test_a_tiny_temperature_is_nearly_greedy() -> None:
    assert set(drawn(torch.tensor([1.0, 1.01, 0.0]), SamplingParams(temperature=1e-9))) == {1}


def test_top_k_keeps_the_k_largest_and_ties() -> None:
    logits = torch.tensor([3.0, 2.0, 2.0, 1.0, 0.0])
    assert set(drawn(logits, SamplingParams(temperature=5.0, top_k=2))) == {0, 1, 2}


def test_top_p_keeps_the_fewest_that_reach_p() -> None:
    logits = torch.tensor([0.5, 0.25, 0.15, 0.1]).log()
    ids = drawn(logits, SamplingParams(temperature=1.0, top_p=0.8))
    assert set(ids) == {0, 1, 2}
    assert set(drawn(logits, SamplingParams(temperature=1.0, top_p=0.01))) == {0}


def test_top_p_over_a_flat_row_needs_more_than_the_first_guess() -> None:
    ids = drawn(torch.zeros(4000), SamplingParams(temperature=1.0, top_p=0.9), 2000)
    assert len(set(ids)) > 1200


@given(
    values=st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=40),
    seed=st.integers(0, 2**32),
    temperature=st.floats(0, 5),
    top_p=st.floats(0.01, 1),
    top_k=st.integers(0, 50),
)
def test_an_id_of_the_row_is_drawn_and_the_seed_repeats_it(
    values: list[float], seed: int, temperature: float, top_p: float, top_k: int
) -> None:
    params = SamplingParams(temperature=temperature, top_p=top_p, top_k=top_k)
    logits = torch.tensor([*values, -math.inf])
    first = draw(logits, params, generator(seed))
    assert 0 <= first < len(values)
    assert draw(logits, params, generator(seed)) == first


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_broken_row_is_an_engine_error(bad: float) -> None:
    with pytest.raises(EngineError, match="not finite"):
        draw(torch.full((4,), bad), SamplingParams(), generator())


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"repetition_window": -1}, "repetition_window"),
    ],
)
def test_parameters_out_of_range_are_named(change: dict[str, float], name: str) -> None:
    with pytest.raises(InputError, match=name):
        check_sampling(replace(SamplingParams(), **change))  # type: ignore[arg-type]


def test_rounding_that_swaps_two_likely_ids_changes_no_draw() -> None:
    """Rows of a batch are rounded otherwise than one alone; likelihoods keep their values."""
    logits = torch.tensor([0.0, 2.0, 1.0, 2.0 + 2e-7, 1.0 + 2e-7, -3.0])
    rounded = torch.tensor([0.0, 2.0 + 2e-7, 1.0 + 2e-7, 2.0, 1.0, -3.0])
    params = SamplingParams(temperature=1.0, top_p=0.9)
    for seed in range(200):
        one, other = (torch.Generator().manual_seed(seed) for _ in range(2))
        assert draw(logits, params, one) == draw(rounded, params, other)
