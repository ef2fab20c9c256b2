"""chi-PO and REFUEL against numbers by hand, and conversations whose candidates part at a turn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from step_audio.core.errors import InputError
from step_audio.core.types import SamplingParams
from step_audio.data.parquet import read_parquet, write_parquet
from step_audio.data.shards import ShardWriter, TokenSample, TokenShards
from step_audio.engine.weights import load_step1
from step_audio.train.dpo import Dpo, Loss, chi_po_loss, preference_loss, refuel_loss
from step_audio.train.rejection import Asked, Choice, choose, sample
from step_audio.train.scoring import Scorer
from tests.fakes import VOCAB as FAKE
from tests.fakes import ScriptedEngine
from tests.train.tiny_training import VOCAB, answer, write_pairs, write_published

POLICY = torch.tensor([[-10.0, -12.0]])
REFERENCE = torch.tensor([[-11.0, -11.5]])
"""The preferred answer gained 1 nat, the rejected one lost half a nat."""


def write_scored(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    writer = ShardWriter(folder, VOCAB, kind="pairs")
    for _ in range(3):
        good = answer(rng, 4, 2)
        bad = [
            30 if m and i < VOCAB.audio_base else i
            for i, m in zip(good.ids, good.mask, strict=True)
        ]
        writer.add(replace(good, score=0.9))
        writer.add(TokenSample(bad, good.mask, good.task, good.id, 0.25))
    writer.close()
    return folder


def test_the_losses_are_those_of_their_papers_by_hand() -> None:
    beta = 0.1
    # DPO: -log sigmoid(0.1 * (1 + 0.5)).
    dpo = math.log(1 + math.exp(-0.15))
    assert float(preference_loss(POLICY, REFERENCE, beta)) == pytest.approx(dpo, rel=1e-5)
    # chi-PO: phi(e^1) = e + 1, phi(e^-0.5) = e^-0.5 - 0.5; 0.1 * (3.71828 - 0.10653) = 0.36118.
    margin = beta * ((math.e + 1) - (math.exp(-0.5) - 0.5))
    assert margin == pytest.approx(0.361175, abs=1e-5)
    chi = math.log(1 + math.exp(-margin))
    assert float(chi_po_loss(POLICY, REFERENCE, beta, 1.0)) == pytest.approx(chi, rel=1e-5)
    # REFUEL: (0.1 * 1.5 - (0.9 - 0.25))^2 = 0.25.
    rewards = torch.tensor([[0.9, 0.25]])
    assert float(refuel_loss(POLICY, REFERENCE, beta, rewards)) == pytest.approx(0.25, rel=1e-5)


def test_chi_po_learns_nothing_beyond_its_clip_and_stays_finite() -> None:
    policy = torch.tensor([[0.0, -60.0]], requires_grad=True)
    loss = chi_po_loss(policy, torch.tensor([[-500.0, -40.0]]), 0.1, 1.0)
    assert float(loss.detach()) == pytest.approx(math.log(1 + math.exp(-2.0)), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss.sum(), policy)
    assert torch.equal(gradient, torch.zeros(1, 2))


@pytest.mark.parametrize("loss", ["dpo", "chi-po", "refuel"])
@pytest.mark.parametrize("masked", [True, False])
def test_only_counted_ids_move_the_model(tmp_path: Path, loss: Loss, masked: bool) -> None:
    base = write_published(tmp_path / "lm")
    shards = TokenShards(write_scored(tmp_path / "pairs"))
    objective = Dpo(shards, 64, loss=loss, mask_audio=masked)
    # The reference differs from the policy, so that no loss stands where its gradient is zero.
    objective._reference = torch.full((3, 2), -20.0)
    scorer = Scorer(load_step1(base).module())
    seen: list[torch.Tensor] = []
    whole = scorer.forward

    def watched(ids: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        found = whole(ids, wanted)
        targets: torch.Tensor = ids[:, 1:][wanted[:, 1:]].float()

        def keep(grad: torch.Tensor) -> None:
            seen.append(torch.stack([targets, grad]))

        found.register_hook(keep)  # type: ignore[no-untyped-call]
        return found

    scorer.forward = watched  # type: ignore[method-assign]
    value, parts = objective.loss(scorer, [0, 1, 2], torch.device("cpu"))
    torch.autograd.backward(value)
    (moved,) = seen
    audio = moved[0] >= VOCAB.audio_base
    assert bool((moved[1][~audio] != 0).any())
    assert bool(audio.any()) is not masked
    assert math.isfinite(parts["margin"])


def test_refuel_needs_scores_and_they_survive_parquet(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no scores"):
        Dpo(TokenShards(write_pairs(tmp_path / "plain")), 64, loss="refuel")
    write_scored(tmp_path / "pairs")
    write_parquet(tmp_path / "pairs", tmp_path / "pairs.parquet")
    read_parquet(tmp_path / "pairs.parquet", tmp_path / "again")
    was, found = TokenShards(tmp_path / "pairs"), TokenShards(tmp_path / "again")
    assert found.scores.tolist() == was.scores.tolist() == [0.9, 0.25] * 3
    assert found.sha256 == was.sha256


def judge(question: Asked, ids: Sequence[int]) -> float:
    return 1.0 - abs(ids[0] - question.reference[0]) / 10


CONVERSATION = Asked(
    "a", (4, 20, 3), (50,), later=(((4, 21, 3), (60,)), ((4, 22, 3), (70,))), parts_at=1
)


async def test_candidates_part_at_their_turn_and_are_worth_the_rest(tmp_path: Path) -> None:
    # One answer to turn 0; then, side by side: turn 1 of both, turn 2 of both.
    engine = ScriptedEngine([[50], [60], [55], [68], [70]])
    sampling = SamplingParams(max_tokens=3)
    await sample(*(engine, [CONVERSATION], judge, tmp_path, FAKE), candidates=2, sampling=sampling)
    prompts = [request.prompt for request in engine.requests]
    end = FAKE.eot
    begun = (4, 20, 3, 50, end, 4, 21, 3)
    assert prompts[:3] == [(4, 20, 3), begun, begun]
    assert prompts[3:] == [(*begun, 60, end, 4, 22, 3), (*begun, 55, end, 4, 22, 3)]
    counts = choose(tmp_path, FAKE, Choice(least=0.5, gap=0.1))
    assert counts["pairs"] == 1
    pairs = TokenShards(tmp_path / "pairs")
    # (1.0 + 0.8) / 2 and (0.5 + 1.0) / 2
    assert pairs.scores.tolist() == pytest.approx([0.9, 0.75])
    assert pairs[0][0].tolist() == [*begun, 60, end]
    assert pairs[0][1].tolist() == [False] * len(begun) + [True, True]


async def test_a_conversation_that_breaks_off_counts_its_missing_turns_as_nothing(
    tmp_path: Path,
) -> None:
    endless = [70, 70, 70]
    engine = ScriptedEngine([[50], [60], endless])
    sampling = SamplingParams(max_tokens=3)
    asked = replace(CONVERSATION, parts_at=1)
    await sample(*(engine, [asked], judge, tmp_path, FAKE), candidates=1, sampling=sampling)
    choose(tmp_path, FAKE, Choice(least=0.0, gap=0.0))
    rows = (tmp_path / "candidates.jsonl").read_text()
    assert '"score": 0.5' in rows
