"""GRPO on a tiny model: the loss by hand, the mask by gradients, rewards that rise, going on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from step_audio.core.errors import InputError
from step_audio.core.json_lines import read_rows
from step_audio.engine.weights import load_step1
from step_audio.train import grpo as training
from step_audio.train.checkpoints import Checkpoint
from step_audio.train.grpo import GrpoRecipe, Rollouts, grpo, id_tokenizer, worth
from step_audio.train.lora import Lora, merge_adapter
from step_audio.train.rejection import Asked
from step_audio.train.scoring import Scorer, row_sums
from tests.train.tiny_training import VOCAB, write_published

pytestmark = pytest.mark.slow
RECIPE = GrpoRecipe(
    steps=4, questions=2, candidates=4, learning_rate=1e-2, beta=0.0, max_new=8, held=2
)
QUESTIONS = [Asked(f"q{n}", (4, 9, 10 + n, 3, 4, 10)) for n in range(8)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_published(tmp_path_factory.mktemp("base") / "lm")


def low(question: Asked, ids: Sequence[int]) -> float:
    """The share of ids in the lower half: something that a few steps of learning move."""
    return sum(token_id < VOCAB.size // 2 for token_id in ids) / max(1, len(ids))


@pytest.fixture
def any_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model never ends a turn in eight ids: its answers count as they are."""
    monkeypatch.setattr(training, "worth", lambda how, question, ids, vocab: how(question, ids))


def run(base: Path, out: Path, recipe: GrpoRecipe = RECIPE) -> list[dict[str, Any]]:
    return grpo(
        QUESTIONS,
        {"low": (low, 1.0)},
        Checkpoint(base),
        VOCAB,
        out,
        recipe,
        facts={"data": "d"},
        device="cpu",
    )


def inputs(masked: bool) -> dict[str, torch.Tensor]:
    """Two answers to one question as TRL has them: [text, audio, text, end] and [text, end]."""
    audio = VOCAB.audio_base + 5
    made = {
        "prompt_ids": torch.tensor([[4, 9, 12, 3, 4, 10]] * 2),
        "prompt_mask": torch.ones(2, 6, dtype=torch.long),
        "completion_ids": torch.tensor([[12, audio, 13, 3], [14, 3, 0, 0]]),
        "completion_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]),
        "advantages": torch.tensor([0.7, -0.7]),
    }
    if masked:
        made["tool_mask"] = torch.tensor([[1, 0, 1, 1], [1, 1, 1, 1]])
    made["num_items_in_batch"] = torch.tensor(5 if masked else 6)
    return made


def trainer_of(base: Path, out: Path, recipe: GrpoRecipe) -> Any:
    model = AutoModelForCausalLM.from_pretrained(base)
    rewards = {"low": (low, 1.0)}
    return training._trainer(model, QUESTIONS, rewards, VOCAB, out, recipe, (), "cpu")


@pytest.mark.parametrize("masked", [True, False])
def test_the_gradient_is_that_of_the_ids_that_count_and_of_no_other(
    base: Path, tmp_path: Path, masked: bool
) -> None:
    recipe = replace(RECIPE, questions=1, candidates=2)
    trainer = trainer_of(base, tmp_path, recipe)
    batch = inputs(masked)
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    torch.autograd.backward(trainer.compute_loss(trainer.model, batch))
    found = {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}

    # By hand: the first step's ratios are one, so the gradient is that of
    # -(sum over answers of advantage * sum over counted ids of log p) / number of counted ids.
    scorer = Scorer(load_step1(base).module())
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    counts = batch["completion_mask"] * batch.get("tool_mask", torch.ones(2, 4, dtype=torch.long))
    wanted = torch.cat([torch.zeros(2, 6, dtype=torch.bool), counts.bool()], dim=1)
    sums = row_sums(scorer(ids, wanted), wanted)
    torch.autograd.backward(-(batch["advantages"] * sums).sum() / counts.sum())
    by_hand = {n.removeprefix("lm."): p.grad for n, p in scorer.named_parameters()}
    assert set(found) == {n for n, grad in by_hand.items() if grad is not None}
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, by_hand[name], rtol=1e-3, atol=1e-6)


def test_advantages_are_rewards_against_the_mean_of_their_group(
    base: Path, tmp_path: Path, any_end: None
) -> None:
    trainer = trainer_of(base, tmp_path, RECIPE)
    trainer.model.train()
    batch = [{"prompt": name} for name in ("q0",) * 4 + ("q1",) * 4]
    torch.manual_seed(3)
    made = trainer._generate_and_score_completions(batch)
    by_row = made["completion_ids"].tolist()
    rewards = np.array([low(QUESTIONS[0], ids) for ids in by_row]).reshape(2, 4)
    assert rewards.std(axis=1).min() > 0  # the answers differ
    spread = rewards.std(axis=1, ddof=1, keepdims=True) + 1e-4
    expected = (rewards - rewards.mean(axis=1, keepdims=True)) / spread
    np.testing.assert_allclose(made["advantages"].numpy().reshape(2, 4), expected, atol=1e-4)
    audio = made["completion_ids"] >= VOCAB.audio_base
    assert audio.any()
    assert torch.equal(made["tool_mask"].bool(), ~audio)


def test_rewards_rise_and_the_result_is_a_checkpoint_that_serves(
    base: Path, tmp_path: Path, any_end: None, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = replace(RECIPE, steps=20, mask_audio=False, learning_rate=5e-2)
    rows = run(base, tmp_path / "run", recipe)
    assert [row["step"] for row in rows] == [0, 20]
    steps = read_rows(tmp_path / "run" / "steps.jsonl")
    assert [row["step"] for row in steps] == list(range(1, 21))
    rewards = [row["reward"] for row in steps]
    assert np.mean(rewards[-4:]) > np.mean(rewards[:4]) + 0.1
    assert "step 20 of 20  reward" in capsys.readouterr().out
    assert load_step1(tmp_path / "run" / "export").config == Checkpoint(base).config
    assert (tmp_path / "run" / "export" / "tokenizer.json").is_file()
    assert any((tmp_path / "run" / "tensorboard").iterdir())


def test_a_run_goes_on_from_its_checkpoint_and_refuses_another_recipe(
    base: Path, tmp_path: Path, any_end: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, save_every=2, steps=5)
    rollout = Rollouts.answers
    drawn = []

    def cut(self: Rollouts, trainer: Any, asked: Any, temperature: float) -> list[list[int]]:
        drawn.append(temperature)
        if len(drawn) == 5:  # the held-out questions, then three steps
            raise KeyboardInterrupt
        return rollout(self, trainer, asked, temperature)

    monkeypatch.setattr(Rollouts, "answers", cut)
    with pytest.raises(KeyboardInterrupt):
        run(base, tmp_path / "run", recipe)
    monkeypatch.setattr(Rollouts, "answers", rollout)
    assert len(read_rows(tmp_path / "run" / "steps.jsonl")) == 3
    rows = run(base, tmp_path / "run", recipe)
    assert [row["step"] for row in rows] == [0, 5]
    steps = [row["step"] for row in read_rows(tmp_path / "run" / "steps.jsonl")]
    assert steps == [1, 2, 3, 4, 5]
    with pytest.raises(InputError, match="other values of learning_rate"):
        run(base, tmp_path / "run", replace(recipe, learning_rate=1e-4))


def test_adapters_alone_are_trained_and_merge(base: Path, tmp_path: Path, any_end: None) -> None:
    run(base, tmp_path / "run", replace(RECIPE, steps=2, lora=Lora(2, 4.0), beta=0.1))
    merge_adapter(base, tmp_path / "run" / "export", tmp_path / "merged")
    name = "model.layers.0.mlp.down_proj.weight"
    changed = Checkpoint(tmp_path / "merged").read(name)
    assert not torch.equal(changed, Checkpoint(base).read(name))


def test_greedy_answers_are_those_of_the_model_without_padding(base: Path, tmp_path: Path) -> None:
    trainer = trainer_of(base, tmp_path, RECIPE)
    long = Asked("long", (4, 9, 12, 13, 14, 15, 16, 3, 4, 10))
    rolls = Rollouts(VOCAB, 6)
    together = rolls.answers(trainer, [QUESTIONS[0], long], temperature=0.0)
    alone = [rolls.answers(trainer, [q], temperature=0.0)[0] for q in (QUESTIONS[0], long)]
    assert together == alone


def test_answers_without_an_end_are_worth_nothing() -> None:
    ended, endless = [20, VOCAB.eot], [20, 21]
    assert worth(low, QUESTIONS[0], ended, VOCAB) == 1.0
    assert worth(low, QUESTIONS[0], endless, VOCAB) == 0.0
    assert worth(lambda q, ids: None, QUESTIONS[0], endless, VOCAB) is None
    assert worth(low, QUESTIONS[0], [], VOCAB) == 0.0


def test_too_few_questions_and_groups_that_do_not_share_out_are_said(
    base: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="too few for steps of 9"):
        run(base, tmp_path / "run", replace(RECIPE, questions=9))
    with pytest.raises(InputError, match="do not share out"):
        run(base, tmp_path / "run", replace(RECIPE, micro=3))


def test_pieces_of_the_log_are_the_ids() -> None:
    tokenizer = id_tokenizer(VOCAB)
    assert tokenizer.eos_token_id == VOCAB.eot
    assert tokenizer.decode([5, VOCAB.audio_base]) == f"<5> <{VOCAB.audio_base}>"
