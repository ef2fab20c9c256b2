"""Rejection sampling keeps the best, pairs it with the worst, and never asks twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from step_audio.core.errors import EngineError, EngineRefused, InputError
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
    assert counts == {"questions": 2, "best": 2, "pairs": 2, "too close": 0, "equal text": 0}
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
    refusing = ScriptedEngine([[50]], error=EngineRefused("here", 400, "too long"))
    await sample(refusing, QUESTIONS[:1], judge, tmp_path / "b", VOCAB, candidates=1)
    assert choose(tmp_path / "b", VOCAB)["pairs"] == 0


async def test_what_a_broken_engine_did_not_answer_is_asked_again(tmp_path: Path) -> None:
    many = [Asked(str(n), (4, 20, 3), (50,)) for n in range(9)]
    broken = ScriptedEngine([[50]], error=EngineError("broke"))
    with pytest.raises(EngineError, match="broke"):
        await sample(broken, many, judge, tmp_path, VOCAB, candidates=2)
    assert len(broken.requests) == 2 * 3  # three questions in a row are no accident
    one = [Asked("0", (4, 20, 3), (50,))]
    await sample(broken, one, judge, tmp_path, VOCAB, candidates=2)
    sound = ScriptedEngine([[50]])
    await sample(sound, many, judge, tmp_path, VOCAB, candidates=2)
    assert len(sound.requests) == 2 * 9
    assert choose(tmp_path, VOCAB)["best"] == 9


async def test_answers_of_another_model_are_not_taken_for_its_own(tmp_path: Path) -> None:
    engine = ScriptedEngine([[50]])
    await sample(engine, QUESTIONS, judge, tmp_path, VOCAB, plan={"model": "sft2"})
    with pytest.raises(InputError, match="other values of model"):
        await sample(engine, QUESTIONS, judge, tmp_path, VOCAB, plan={"model": "dpo"})


async def test_the_answers_to_a_question_are_drawn_side_by_side(tmp_path: Path) -> None:
    engine = ScriptedEngine([[50, 51]], hold=1)

    async def go_on() -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(engine.requests) == 3
        engine.resume.set()

    drawn = sample(engine, QUESTIONS[:1], judge, tmp_path, VOCAB, candidates=3)
    await asyncio.wait_for(asyncio.gather(drawn, go_on()), 10)
    assert choose(tmp_path, VOCAB)["best"] == 1


def test_answers_that_differ_in_sound_alone_make_no_pair(tmp_path: Path) -> None:
    """Masked DPO would learn that right words are unlikely after that sound."""
    base = VOCAB.audio_base
    answers = [([50, base + 1], 1.0), ([50, base + 2], 0.4), ([51, base + 2], 0.5)]
    rows = [answers, answers[:2], [answers[0], ([51], 0.9)]]
    with (tmp_path / "candidates.jsonl").open("w") as file:
        for name, row in enumerate(rows):
            made = [{"ids": ids, "score": score} for ids, score in row]
            file.write(json.dumps({"id": str(name), "prompt": [4, 3], "answers": made}) + "\n")
    counts = choose(tmp_path, VOCAB, Choice(gap=0.3))
    assert counts == {"questions": 3, "best": 3, "pairs": 1, "equal text": 1, "too close": 1}
    pairs = TokenShards(tmp_path / "pairs")
    assert [pairs[n][0].tolist() for n in (0, 1)] == [[4, 3, 50, base + 1], [4, 3, 51, base + 2]]


def test_packs_in_which_nothing_was_good_enough_say_so(tmp_path: Path) -> None:
    (tmp_path / "candidates.jsonl").write_text(
        '{"id": "a", "prompt": [4, 3], "answers": [{"ids": [50], "score": 0.1}]}\n'
    )
    assert choose(tmp_path, VOCAB)["best"] == 0
    with pytest.raises(InputError, match="nothing was good enough"):
        TokenShards(tmp_path / "best")


def test_nothing_sampled_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="train reject"):
        choose(tmp_path, VOCAB)
