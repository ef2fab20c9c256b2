"""Rejection sampling keeps the best, pairs it with the worst, and never asks twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from step_audio.core.errors import EngineError, InputError
from step_audio.core.types import SamplingParams
from step_audio.data.shards import TokenShards
from step_audio.train.rejection import Asked, Choice, choose, sample
from tests.fakes import VOCAB, ScriptedEngine

QUESTIONS = [Asked("a", (4, 20, 3), (50,)), Asked("b", (4, 21, 3), (60,))]


def judge(question: Asked, ids: Sequence[int]) -> float:
    """How near the first id is to the right one."""
    return 1.0 - abs(ids[0] - question.reference[0]) / 10


async def test_best_and_worst_of_each_question_are_kept(tmp_path: Path) -> None:
    engine = ScriptedEngine([[50, 51], [45], [48], [52], [53], [60]])
    three = SamplingParams(max_tokens=3)
    await sample(engine, QUESTIONS, judge, tmp_path, VOCAB, candidates=3, sampling=three)
    assert [request.sampling.seed for request in engine.requests] == [0, 1, 2] * 2
    await sample(engine, QUESTIONS, judge, tmp_path, VOCAB, candidates=3, sampling=three)
    assert len(engine.requests) == 6
    counts = choose(tmp_path, VOCAB, Choice(least=0.9, gap=0.3))
    assert counts == {"questions": 2, "best": 2, "pairs": 2}
    best, pairs = TokenShards(tmp_path / "best"), TokenShards(tmp_path / "pairs")
    ids, mask = best[0]
    assert ids.tolist() == [4, 20, 3, 50, 51, VOCAB.eot]
    assert mask.tolist() == [False] * 3 + [True] * 3
    assert [pairs[n][0][3] for n in range(4)] == [50, 45, 60, 52]


async def test_answers_that_never_end_or_fail_are_none(tmp_path: Path) -> None:
    endless = ScriptedEngine([[50, 50, 50]])
    await sample(
        *(endless, QUESTIONS[:1], judge, tmp_path / "a", VOCAB),
        candidates=2,
        sampling=SamplingParams(max_tokens=3),
    )
    assert choose(tmp_path / "a", VOCAB)["best"] == 0
    broken = ScriptedEngine([[50]], error=EngineError("broke"))
    await sample(broken, QUESTIONS[:1], judge, tmp_path / "b", VOCAB, candidates=1)
    assert choose(tmp_path / "b", VOCAB)["pairs"] == 0


def test_nothing_sampled_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="train reject"):
        choose(tmp_path, VOCAB)
