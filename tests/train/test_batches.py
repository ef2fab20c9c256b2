"""Batches depend on seed and step alone, and every worker computes its own share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from step_audio.core.errors import InputError
from step_audio.data.shards import TokenShards
from step_audio.train.batches import BatchPlan, collate, shares
from step_audio.train.evaluation import means
from step_audio.train.scoring import row_sums
from step_audio.train.workers import TrainingProcesses
from tests.train.tiny_training import write_pack

LENGTHS = np.array([5, 9, 0, 30, 7, 7, 12, 3, 28, 4], dtype=np.int64)


def test_an_epoch_takes_every_unit_once_and_leaves_out_those_of_no_length() -> None:
    plan = BatchPlan(LENGTHS, 40, seed=1)
    for epoch in range(3):
        first = epoch * plan.steps_per_epoch
        seen = [unit for step in range(plan.steps_per_epoch) for unit in plan.batch(first + step)]
        assert sorted(seen) == [0, 1, 3, 4, 5, 6, 7, 8, 9] or epoch > 0


def test_a_step_is_the_same_in_whatever_order_steps_are_asked_for() -> None:
    forward = [BatchPlan(LENGTHS, 40, seed=1).batch(step) for step in range(25)]
    plan = BatchPlan(LENGTHS, 40, seed=1)
    assert [plan.batch(step) for step in reversed(range(25))] == forward[::-1]
    assert forward != [BatchPlan(LENGTHS, 40, seed=2).batch(step) for step in range(25)]


def test_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(InputError):
        BatchPlan(np.zeros(3, np.int64), 40, seed=1)


@given(workers=st.integers(1, 5), tokens=st.integers(1, 80))
def test_shares_are_equally_many_and_complete(workers: int, tokens: int) -> None:
    batch = [0, 1, 3, 4, 5, 6, 7, 8, 9]
    parts = shares(batch, LENGTHS, tokens, workers)
    assert len({len(part) for part in parts}) == 1
    assert sorted(unit for part in parts for units in part for unit in units) == batch
    for part in parts:
        for units in part:
            longest = max((int(LENGTHS[unit]) for unit in units), default=0)
            assert len(units) <= 1 or len(units) * longest <= tokens


def test_shards_read_what_was_written_across_files(tmp_path: Path) -> None:
    shards = TokenShards(write_pack(tmp_path / "pack", count=20))
    assert len(list((tmp_path / "pack").glob("*.safetensors"))) > 1
    assert len(shards) == len(list(shards.rows())) == 20
    ids, mask = collate(shards, [3, 19])
    for row, index in enumerate((3, 19)):
        wanted_ids, wanted_mask = shards[index]
        length = int(shards.lengths[index])
        assert ids[row, :length].tolist() == wanted_ids.tolist()
        assert mask[row, :length].tolist() == wanted_mask.tolist()
        assert not mask[row, length:].any()


def test_a_pack_that_was_not_finished_is_refused(tmp_path: Path) -> None:
    folder = write_pack(tmp_path / "pack")
    next(iter(sorted(folder.glob("*.safetensors")))).unlink()
    with pytest.raises(InputError, match="sequences"):
        TokenShards(folder)


def test_sums_go_to_the_rows_they_came_from() -> None:
    wanted = torch.tensor([[True, True, False], [False, False, False], [True, True, True]])
    # The first column is never scored.
    assert row_sums(torch.tensor([1.0, 2.0, 4.0]), wanted).tolist() == [1.0, 0.0, 6.0]


@dataclass(frozen=True, slots=True)
class _OneOfTwo:
    """A process beside another whose share was empty."""

    def gather(self, value: list[str]) -> list[list[str]]:
        other = ["loss"] if "margin" in value else ["loss", "margin", "count_margin"]
        return [value, other]

    def total(self, values: Sequence[float]) -> list[float]:
        assert len(values) == 3  # two processes that add different numbers of values wait for ever
        return [value + 1.0 for value in values]


@pytest.mark.parametrize(
    ("sums", "found"),
    [
        ({"loss": 3.0, "margin": 5.0, "count_margin": 1.0}, {"loss": 2.0, "margin": 3.0}),
        ({"loss": 1.0}, {"loss": 1.0, "margin": 1.0}),
    ],
)
def test_processes_agree_on_their_figures_where_one_has_nothing(
    sums: dict[str, float], found: dict[str, float]
) -> None:
    assert means(sums, 2.0, cast(TrainingProcesses, _OneOfTwo())) == found
