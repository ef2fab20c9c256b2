"""SFT and DPO on a tiny model of the published layout: they learn, resume and shard exactly."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from step_audio.core.errors import InputError, WeightsError
from step_audio.core.json_lines import read_rows
from step_audio.core.vocab import Vocab
from step_audio.data.shards import ShardWriter, TokenSample, TokenShards
from step_audio.engine.text import hash_of_text_tokenizer
from step_audio.engine.weights import load_step1
from step_audio.train import finetune as finetuning
from step_audio.train import memory, model
from step_audio.train.checkpoints import Checkpoint
from step_audio.train.dpo import Dpo
from step_audio.train.evaluation import held_units
from step_audio.train.finetune import Diverged, Recipe, finetune, suggested_batch
from step_audio.train.loop import Budget
from step_audio.train.lora import Lora, merge_adapter
from step_audio.train.scoring import Scorer
from step_audio.train.sft import Sft
from step_audio.train.sharded_run import ShardedRun, trackers
from step_audio.train.workers import TrainingProcesses
from tests.train.tiny_training import VOCAB, write_pack, write_pairs, write_published

ALONE = TrainingProcesses(torch.device("cpu"))
RECIPE = Recipe(
    steps=12,
    batch_tokens=256,
    micro_tokens=96,
    max_length=64,
    learning_rate=3e-3,
    warm_steps=2,
    save_every=5,
    bf16=False,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_published(tmp_path_factory.mktemp("base") / "Step-Audio-TTS-3B")


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("pack"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"))


def sft(base: Path, pack: Path, out: Path, recipe: Recipe = RECIPE) -> ShardedRun:
    shards = TokenShards(pack)
    objective = Sft(shards, recipe.max_length)
    return finetune(
        objective, shards, Checkpoint(base), out, recipe, workers=ALONE, facts={"kind": "sft"}
    )


def dpo(
    base: Path, pairs: Path, out: Path, recipe: Recipe = RECIPE, *, mask_audio: bool = True
) -> None:
    shards = TokenShards(pairs)
    objective = Dpo(shards, recipe.max_length, mask_audio=mask_audio)
    finetune(objective, shards, Checkpoint(base), out, recipe, workers=ALONE, facts={"kind": "dpo"})


def losses(out: Path, name: str = "loss") -> list[float]:
    return [json.loads(row)[name] for row in (out / "steps.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(Checkpoint(folder).tensors())


def test_loss_falls_and_the_result_is_a_checkpoint_that_serves(
    base: Path, pack: Path, tmp_path: Path
) -> None:
    sft(base, pack, tmp_path / "run", replace(RECIPE, steps=40))
    found = losses(tmp_path / "run")
    assert sum(found[-5:]) < 0.7 * sum(found[:5])
    assert load_step1(tmp_path / "run" / "export").config == Checkpoint(base).config
    assert (tmp_path / "run" / "export" / "tokenizer.json").exists()


def test_a_run_that_was_cut_off_goes_on_exactly(
    base: Path, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sft(base, pack, tmp_path / "whole")
    record = ShardedRun.record

    def cut(run: ShardedRun, metrics: dict[str, float]) -> None:
        record(run, metrics)
        if run.step == 8:  # three steps after the last checkpoint
            raise KeyboardInterrupt

    monkeypatch.setattr(ShardedRun, "record", cut)
    with pytest.raises(KeyboardInterrupt):
        sft(base, pack, tmp_path / "cut")
    monkeypatch.undo()
    sft(base, pack, tmp_path / "cut")
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    first, second = (weights(tmp_path / name / "export") for name in ("whole", "cut"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_is_not_gone_on_with_under_another_plan(
    base: Path, pack: Path, tmp_path: Path
) -> None:
    sft(base, pack, tmp_path / "run", replace(RECIPE, steps=2))
    with pytest.raises(InputError, match="other values of learning_rate"):
        sft(base, pack, tmp_path / "run", replace(RECIPE, steps=2, learning_rate=1e-4))


def test_bfloat16_is_decided_by_the_device_where_nobody_says_and_once(
    base: Path, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undecided = replace(RECIPE, steps=2, bf16=None)
    for gains in (False, True):
        monkeypatch.setattr(finetuning, "bf16_gains", lambda device, gains=gains: gains)
        sft(base, pack, tmp_path / str(gains), undecided)
        plan = json.loads((tmp_path / str(gains) / "plan.json").read_text())
        assert plan["bf16"] is gains
    # A run that was begun goes on as it began, also where bfloat16 pays now.
    sft(base, pack, tmp_path / "False", undecided)
    with pytest.raises(InputError, match="other values of bf16"):
        sft(base, pack, tmp_path / "False", replace(undecided, bf16=True))


def test_a_short_run_reaches_its_learning_rate(base: Path, pack: Path, tmp_path: Path) -> None:
    sft(base, pack, tmp_path / "run", replace(RECIPE, steps=10, warm_steps=None))
    assert max(losses(tmp_path / "run", "learning_rate")) == RECIPE.learning_rate
    assert json.loads((tmp_path / "run" / "plan.json").read_text())["warm_steps"] == 1


def test_what_is_left_out_for_its_length_is_said(
    base: Path, pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = TokenShards(pack)
    short = int((shards.lengths <= 30).sum())
    assert 0 < short < len(shards)
    sft(base, pack, tmp_path / "run", replace(RECIPE, steps=1, max_length=30))
    said = capsys.readouterr().out
    assert f"{short} of 40 sequences" in said
    assert f"{40 - short} are longer than 30 ids and left out" in said
    with pytest.raises(InputError, match="the shortest has"):
        sft(base, pack, tmp_path / "none", replace(RECIPE, steps=1, max_length=4))


def test_a_run_whose_gradient_is_not_finite_ends_with_its_last_good_checkpoint(
    base: Path, pack: Path, tmp_path: Path
) -> None:
    wild = replace(RECIPE, steps=40, learning_rate=1e30, warm_steps=6, save_every=1)
    with pytest.raises(Diverged, match=r"step \d+.*--learning-rate"):
        sft(base, pack, tmp_path / "run", wild)
    assert not (tmp_path / "run" / "export").exists()
    assert all(math.isfinite(value) for value in losses(tmp_path / "run", "gradient_norm"))


def test_all_processes_stop_after_the_same_step_when_one_is_told_to(tmp_path: Path) -> None:
    class Told(TrainingProcesses):
        """Another process was told to stop; this one was not."""

        def total(self, values: Sequence[float]) -> list[float]:
            return [value + 1.0 for value in values]

    net = torch.nn.Linear(2, 2)
    run = ShardedRun(
        tmp_path,
        {"model": net},
        torch.optim.AdamW(net.parameters()),
        Budget(steps=9),
        workers=Told(torch.device("cpu")),
    )
    with pytest.raises(SystemExit, match="after step 1"):
        run.record({"loss": 1.0})
    assert (tmp_path / "checkpoint-00000001").is_dir()


def test_held_out_units_are_measured_never_learned_from_and_the_best_weights_kept(
    base: Path, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: set[int] = set()
    loss = Sft.loss

    def noting(objective: Sft, scorer: Scorer, units: list[int], device: torch.device) -> Any:
        if scorer.training:
            learned.update(units)
        return loss(objective, scorer, units, device)

    monkeypatch.setattr(Sft, "loss", noting)
    # The rate is so high in the end that the last weights are not the best ones.
    recipe = replace(RECIPE, steps=20, eval_share=0.2, eval_every=4, learning_rate=5e-2)
    sft(base, pack, tmp_path / "run", recipe)
    rows = read_rows(tmp_path / "run" / "eval.jsonl")
    assert [row["step"] for row in rows] == [0, 4, 8, 12, 16, 20]
    lengths = Sft(TokenShards(pack), recipe.max_length).lengths()
    held = held_units(lengths, 0.2, recipe.seed)
    assert len(held) == 8
    assert learned == set(range(40)) - set(held)
    best = min(rows[1:], key=lambda row: row["loss"])
    kept = model.build(Checkpoint(tmp_path / "run" / "best"), ALONE, bf16=False)
    objective = Sft(TokenShards(pack), recipe.max_length)
    with torch.no_grad():
        total, _ = loss(objective, kept, held, torch.device("cpu"))
    assert float(total) / objective.weight(held) == pytest.approx(best["loss"], rel=1e-4)
    facts = json.loads((tmp_path / "run" / "best" / "training.json").read_text())
    assert facts["step"] == best["step"]


def test_a_run_that_brings_nothing_more_ends_early_and_its_second_call_does_nothing(
    base: Path, pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = replace(RECIPE, steps=30, eval_share=0.2, eval_every=2, patience=2, learning_rate=0.3)
    run = sft(base, pack, tmp_path / "run", recipe)
    assert run.step < 30
    assert len(losses(tmp_path / "run")) == run.step
    said = capsys.readouterr().out
    assert "held-out loss" in said.splitlines()[-1]
    before = (tmp_path / "run" / "eval.jsonl").read_text()
    assert sft(base, pack, tmp_path / "run", recipe).step == run.step
    assert (tmp_path / "run" / "eval.jsonl").read_text() == before
    assert (tmp_path / "run" / "export" / "config.json").is_file()


def test_measurements_of_a_run_that_was_cut_off_are_made_again(
    base: Path, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, eval_share=0.2, eval_every=3)
    sft(base, pack, tmp_path / "whole", recipe)
    record = ShardedRun.record

    def cut(run: ShardedRun, metrics: dict[str, float]) -> None:
        record(run, metrics)
        if run.step in {5, 8}:  # right after a checkpoint, and three steps after one
            raise KeyboardInterrupt

    monkeypatch.setattr(ShardedRun, "record", cut)
    with pytest.raises(KeyboardInterrupt):
        sft(base, pack, tmp_path / "cut", recipe)
    with pytest.raises(KeyboardInterrupt):
        sft(base, pack, tmp_path / "cut", recipe)
    monkeypatch.undo()
    sft(base, pack, tmp_path / "cut", recipe)
    whole, again = (read_rows(tmp_path / name / "eval.jsonl") for name in ("whole", "cut"))
    assert again == whole
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_a_checkpoint_comes_by_the_clock_and_the_log_says_how_fast_it_goes(
    base: Path, pack: Path, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, steps=3, save_every=100, save_minutes=0.0, batch_tokens=None)
    sft(base, pack, tmp_path / "run", recipe)
    names = sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*"))
    assert names == ["checkpoint-00000002", "checkpoint-00000003"]
    first = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])
    assert first["step"] == 1
    assert first["ids_per_s"] > 0
    assert first["memory_gb"] > 0
    assert "minutes_left" in first


def test_the_size_of_a_batch_fits_the_set() -> None:
    assert suggested_batch(np.full(10, 100)) == 4096
    assert suggested_batch(np.full(1000, 1000)) == 20_000
    assert suggested_batch(np.full(100_000, 1000)) == 262_144
    assert suggested_batch(np.array([9000, 10])) == 9000


def test_figures_of_nothing_are_left_out(base: Path, tmp_path: Path) -> None:
    """A batch of text alone has no loss of an audio id; NaN would be no JSON."""
    writer = ShardWriter(tmp_path / "pack", VOCAB)
    for at in range(4):
        writer.add(TokenSample([4, 20 + at, 3], [False, True, True]))
    writer.close()
    sft(base, tmp_path / "pack", tmp_path / "run", replace(RECIPE, steps=2))
    rows = (tmp_path / "run" / "steps.jsonl").read_text()
    assert "NaN" not in rows
    assert "audio" not in json.loads(rows.splitlines()[0])


def test_a_tracker_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no tracker 'wandbb'; known: .*wandb"):
        trackers(["wandbb"], tmp_path, {})
    if find_spec("wandb") is None:
        with pytest.raises(InputError, match="pip install wandb"):
            trackers(["wandb"], tmp_path, {})


def test_small_micro_batches_and_recomputed_layers_change_nothing(
    base: Path, pack: Path, tmp_path: Path
) -> None:
    sft(base, pack, tmp_path / "one", replace(RECIPE, steps=4))
    cheap = replace(RECIPE, steps=4, micro_tokens=32, recompute=True)
    sft(base, pack, tmp_path / "two", cheap)
    assert losses(tmp_path / "one") == pytest.approx(losses(tmp_path / "two"), rel=1e-5)


def test_merged_lora_says_what_unmerged_lora_says(base: Path, pack: Path, tmp_path: Path) -> None:
    lora = Lora(rank=4, alpha=8)
    sft(base, pack, tmp_path / "run", replace(RECIPE, lora=lora, learning_rate=1e-2))
    found = losses(tmp_path / "run")
    assert sum(found[-3:]) < sum(found[:3])
    merge_adapter(base, tmp_path / "run" / "export", tmp_path / "merged")
    unmerged = model.build(Checkpoint(base), ALONE, bf16=False, lora=lora)
    trained = dict(unmerged.named_parameters())
    for name, tensor in load_file(
        tmp_path / "run" / "export" / "adapter_model.safetensors"
    ).items():
        inner = name.removeprefix("base_model.model.").replace(".weight", ".default.weight")
        trained[f"lm.{inner}"].data.copy_(tensor)
    merged = model.build(Checkpoint(tmp_path / "merged"), ALONE, bf16=False)
    ids = torch.arange(24).view(2, 12) % VOCAB.size
    wanted = torch.ones(2, 12, dtype=torch.bool)
    with torch.no_grad():
        torch.testing.assert_close(unmerged(ids, wanted), merged(ids, wanted))
    before = model.build(Checkpoint(base), ALONE, bf16=False)
    with torch.no_grad():
        assert not torch.allclose(before(ids, wanted), merged(ids, wanted))


def test_dpo_learns_what_is_preferred(base: Path, pairs: Path, tmp_path: Path) -> None:
    dpo(base, pairs, tmp_path / "run", replace(RECIPE, steps=20))
    assert losses(tmp_path / "run")[0] == pytest.approx(0.6931, abs=1e-3)
    assert losses(tmp_path / "run")[-1] < 0.6
    assert losses(tmp_path / "run", "preferred")[-1] == 1.0


def test_what_was_scored_under_another_plan_is_not_used(
    base: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(run: ShardedRun) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(ShardedRun, "resume", cut)
    with pytest.raises(KeyboardInterrupt):
        dpo(base, pairs, tmp_path / "run")
    monkeypatch.undo()
    assert (tmp_path / "run" / "reference.safetensors").is_file()
    other = write_pairs(tmp_path / "pairs", seed=5)
    with pytest.raises(InputError, match="other values of data"):
        dpo(base, other, tmp_path / "run")


@pytest.mark.parametrize("mask_audio", [True, False])
def test_the_gradient_of_dpo_on_audio_positions_is_exactly_zero_with_the_mask(
    base: Path, pairs: Path, tmp_path: Path, mask_audio: bool
) -> None:
    shards = TokenShards(pairs)
    objective = Dpo(shards, 64, mask_audio=mask_audio)
    scorer = model.build(Checkpoint(base), ALONE, bf16=False)
    objective.prepare(scorer, tmp_path, ALONE, 256)
    kept: list[torch.Tensor] = []

    def keep(_: object, __: object, hidden: torch.Tensor) -> None:
        hidden.retain_grad()
        kept.append(hidden)

    scorer.lm.model.norm.register_forward_hook(keep)
    units = [0, 1, 2]
    loss, _ = objective.loss(scorer, units, torch.device("cpu"))
    torch.autograd.backward(loss)
    (hidden,) = kept
    assert hidden.grad is not None
    lengths = [len(shards[2 * u + side][0]) for u in units for side in (0, 1)]
    for row, length in enumerate(lengths):
        ids, learned = shards[row]
        # The state at t predicts the id at t + 1.
        audio = torch.from_numpy((ids >= VOCAB.audio_base) & learned)[1:length]
        text = torch.from_numpy((ids < VOCAB.audio_base) & learned)[1:length]
        gradient = hidden.grad[row, : length - 1]
        assert bool((gradient[audio] == 0).all()) is mask_audio
        assert bool((gradient[text] != 0).any())


def test_data_with_ids_the_model_lacks_is_refused(base: Path, tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "pack", Vocab())
    writer.add(TokenSample([4, 70_000, 3], [False, True, True]))
    writer.close()
    with pytest.raises(InputError, match="has 70656 ids, the model"):
        sft(base, tmp_path / "pack", tmp_path / "run")


def test_data_of_another_text_tokenizer_is_refused(base: Path, tmp_path: Path) -> None:
    """The ids of a pack for nano fit into any published model, and mean nothing to it."""
    for name, found in (("own", hash_of_text_tokenizer(base)), ("foreign", "0" * 64)):
        writer = ShardWriter(tmp_path / name, VOCAB)
        writer.add(TokenSample([4, 70, 3], [False, True, True]))
        writer.close(text_tokenizer=found)
    sft(base, tmp_path / "own", tmp_path / "run", replace(RECIPE, steps=1))
    with pytest.raises(InputError, match=r"another text tokenizer.*pack again with --profile"):
        sft(base, tmp_path / "foreign", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_adapters_are_no_start_and_the_error_says_what_to_do(
    base: Path, pack: Path, tmp_path: Path
) -> None:
    sft(base, pack, tmp_path / "run", replace(RECIPE, steps=1, lora=Lora(rank=2)))
    with pytest.raises(WeightsError, match="merge-lora"):
        Checkpoint(tmp_path / "run" / "export")
    with pytest.raises(WeightsError, match="adapter_config"):
        merge_adapter(base, base, tmp_path / "merged")


def test_what_does_not_fit_into_memory_is_said_before_the_first_step(
    base: Path, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available", lambda device, workers: 2**29)
    with pytest.raises(InputError, match=r"needs about 0\.7 GB .* has 0\.5 GB; try --lora 16"):
        sft(base, pack, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.timeout(1200)  # minutes where many share two cores: the two processes wait in turn
@pytest.mark.parametrize("kind", ["sft", "dpo", "lora"])
def test_two_sharded_processes_equal_one(
    base: Path, pack: Path, pairs: Path, tmp_path: Path, kind: str
) -> None:
    data = pairs if kind == "dpo" else pack
    common = ["--from", str(base), "--data", str(data), "--no-bf16", "--steps", "6"]
    common += ["--batch-tokens", "256", "--micro-tokens", "96", "--max-length", "64"]
    common += ["--learning-rate", "3e-3", "--warm-steps", "2", "--save-every", "3"]
    common += ["--device", "cpu", *(["--lora", "4"] if kind == "lora" else [])]
    command = ["-m", "step_audio", "train", "dpo" if kind == "dpo" else "sft", *common]
    alone = [sys.executable, *command, "--out", str(tmp_path / "one")]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    two = [sys.executable, *launcher, *command, "--out", str(tmp_path / "two")]
    for line in (alone, two):
        done = subprocess.run(line, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    assert losses(tmp_path / "one") == pytest.approx(losses(tmp_path / "two"), rel=1e-4)
    if kind != "lora":
        first, second = (weights(tmp_path / name / "export") for name in ("one", "two"))
        for name in first:
            torch.testing.assert_close(first[name], second[name], atol=3e-5, rtol=1e-3)
