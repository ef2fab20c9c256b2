"""Every stage by its command, at the smallest size: texts, speech, filter, shards, SFT twice,
rejection sampling, DPO, merge."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from step_audio.cli import main as step_audio
from step_audio.core.config import load_profile
from step_audio.core.weights import open_weights
from step_audio.data.shards import TokenShards
from step_audio.engine.step1 import Step1, Step1Config
from step_audio.engine.weights import load_step1, save_step1
from tests.machine_voices import needs_machine_voices

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    needs_machine_voices,
]


def run(*words: object) -> None:
    assert step_audio([str(word) for word in words]) == 0


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, its pack, and a small random model of nano's vocabulary."""
    at = tmp_path_factory.mktemp("stages")
    run("data", "write", at / "set", "--count", 4, "--seed", 5)
    run("data", "speak", at / "set")
    run("data", "filter", at / "set", "--recogniser", "none", "--no-dnsmos")
    run("data", "pack", at / "set", "-o", at / "pack")
    run("data", "report", at / "set")
    vocab = open_weights(load_profile("nano").weights, "here").facts.vocab
    config = Step1Config(32, 48, 4, 2, 2, vocab.size, max_seq_len=1024)
    model = Step1(config)
    model.initialize(torch.Generator().manual_seed(0))
    save_step1(at / "base", config, model.state_dict())
    facts = json.loads((at / "pack" / "pack.json").read_text())
    assert facts["vocab"] == asdict(vocab)
    nano = open_weights(load_profile("nano").weights, "here")
    assert facts["text_tokenizer"] == nano.files["lm/tokenizer.json"].sha256
    return at


def train(at: Path, kind: str, source: str, data: str, out: str, *more: object) -> Path:
    small = ("--steps", 4, "--batch-tokens", 1500, "--micro-tokens", 800, "--warm-steps", 1)
    where = ("--from", at / source, "--data", at / data, "--out", at / out)
    run("train", kind, *where, *small, "--no-bf16", "--device", "cpu", *more)
    assert (at / out / "tensorboard").is_dir()
    return at / out / "export"


def test_each_stage_leaves_what_the_next_one_takes(at: Path) -> None:
    first = train(at, "sft", "base", "pack", "sft1", "--learning-rate", 3e-3)
    rows = [json.loads(row) for row in (at / "sft1" / "steps.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < rows[0]["loss"]
    second = train(at, "sft", "sft1/export", "pack", "sft2", "--text-weight", 3)
    sampling = ("--questions", 2, "--candidates", 2, "--recogniser", "none", "--temperature", 1.5)
    run("train", "reject", at / "set", "--out", at / "chosen", *sampling, "--least=-1", "--gap=-1")
    best, packed = TokenShards(at / "chosen" / "best"), TokenShards(at / "pack")
    assert best.kind == "sft"
    assert best.text_tokenizer == packed.text_tokenizer != ""
    preferred = train(at, "dpo", "sft2/export", "chosen/pairs", "dpo", "--beta", 0.2)
    parents = [f"--parent={folder}={weight}" for folder, weight in
               ((first, 5), (second, 5), (preferred, 1))]  # fmt: skip
    run("train", "merge", *parents, "--out", at / "merged")
    assert load_step1(at / "merged").config == load_step1(at / "base").config


def test_lora_trains_and_merges_by_command(at: Path) -> None:
    adapter = train(at, "sft", "base", "pack", "lora", "--lora", 4)
    run("train", "merge-lora", "--from", at / "base", "--adapter", adapter, "--out", at / "whole")
    assert load_step1(at / "whole").config == load_step1(at / "base").config


def test_rewards_train_by_command_and_rate_held_out_questions(
    at: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ("--steps", 2, "--step-questions", 2, "--candidates", 2, "--max-new", 12, "--held", 1)
    where = ("--from", at / "base", "--out", at / "grpo", "--device", "cpu")
    run("train", "grpo", at / "set", *where, *small, "--tasks", "TQTA", "--beta", 0)
    assert load_step1(at / "grpo" / "export").config == load_step1(at / "base").config
    rows = [json.loads(row) for row in (at / "grpo" / "eval.jsonl").read_text().splitlines()]
    assert [(row["step"], row["questions"]) for row in rows] == [(0, 1), (2, 1)]
    assert rows[0]["form"] == 0.0  # twelve ids of a random model have no end
    assert "held out, 1 questions, step 2: judge 0.000" in capsys.readouterr().out
    scored = (at / "base", at / "grpo" / "export")
    of = [f"--from={folder}" for folder in scored]
    run("train", "score", at / "set", *of, "--questions", 2, "--max-new", 12, "--tasks", "TQTA")
    rows = [json.loads(row) for row in capsys.readouterr().out.splitlines() if row[0] == "{"]
    assert [row["checkpoint"] for row in rows] == [str(folder) for folder in scored]
    assert rows[0]["judge"] == {"mean": 0.0, "low": 0.0, "high": 0.0, "of": 2}
    plan = json.loads((at / "grpo" / "plan.json").read_text())
    assert plan["rewards"] == {"judge": 1.0, "calls": 0.5, "refusals": 0.5, "form": 0.2}


def test_conversations_are_asked_whole_and_refuel_takes_their_scores(at: Path) -> None:
    sampling = ("--questions", 2, "--candidates", 2, "--recogniser", "none", "--temperature", 1.5)
    least = ("--least=-1", "--gap=-1", "--turns", "all")
    run("train", "reject", at / "set", "--out", at / "turns", *sampling, *least)
    assert TokenShards(at / "turns" / "pairs").scores.min() >= 0
    train(at, "dpo", "base", "turns/pairs", "refuel", "--loss", "refuel")
    train(at, "dpo", "base", "turns/pairs", "chi", "--loss", "chi-po")


def test_mistakes_end_in_one_line(at: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ["train", "sft", "--from", str(at / "base"), "--out", str(at / "x"), "--data"]
    assert step_audio([*wrong, str(at / "nowhere")]) == 2
    assert (
        step_audio(["data", "pack", str(at / "set"), "-o", str(at / "y"), "--interleave", "10"])
        == 2
    )
    assert step_audio(["train", "merge", "--out", str(at / "z"), "--parent", "x"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3
