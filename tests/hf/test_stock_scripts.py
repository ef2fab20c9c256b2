"""Stock PEFT and TRL train Step1: the scripts of docs/examples, and what they leave behind."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from step_audio.data.parquet import read_parquet, write_parquet
from step_audio.data.shards import TokenShards
from step_audio.engine.weights import load_step1
from step_audio.hf.collators import IGNORED, PairCollator, SequenceCollator
from step_audio.hf.tokenizer import load_tokenizer
from step_audio.train.checkpoints import Checkpoint
from step_audio.train.dpo import Dpo
from step_audio.train.lora import merge_adapter
from step_audio.train.scoring import Scorer
from tests.hf.tiny_lm import VOCAB, write_model, write_pairs, write_sequences

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("stock")
    write_model(made / "lm")
    write_sequences(made)
    write_pairs(made)
    return made


def run(script: str, *args: object) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *map(str, args)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("script", ["lora.py", "dpo.py", "reward.py"])
def test_the_scripts_use_nothing_of_ours_but_model_vocabulary_and_collator(script: str) -> None:
    text = (EXAMPLES / script).read_text()
    ours = set(re.findall(r"(?:import|from) (step_audio\.[\w.]+)", text))
    assert ours <= {
        *("step_audio.hf", "step_audio.hf.collators", "step_audio.hf.tokenizer"),
        "step_audio.core.vocab",
    }
    body = [n for n in ast.parse(text).body if not isinstance(n, ast.Import | ast.ImportFrom)]
    assert sum(1 + (n.end_lineno or n.lineno) - n.lineno for n in body[1:]) <= 20


def test_lora_by_stock_peft_learns_and_merges_with_our_command(
    folder: Path, tmp_path: Path
) -> None:
    said = run("lora.py", folder / "lm", folder / "pack.parquet", tmp_path / "lora", 30)
    found = re.search(r"eval loss ([\d.]+) -> ([\d.]+)", said)
    assert found is not None
    before, after = float(found[1]), float(found[2])
    assert after < 0.9 * before
    merge_adapter(folder / "lm", tmp_path / "lora", tmp_path / "merged")
    changed = Checkpoint(tmp_path / "merged").read("model.layers.0.self_attn.q_proj.weight")
    plain = Checkpoint(folder / "lm").read("model.layers.0.self_attn.q_proj.weight")
    assert not torch.equal(changed, plain)


def test_dpo_by_stock_trl_prefers_the_better_answers(folder: Path, tmp_path: Path) -> None:
    said = run("dpo.py", folder / "lm", folder / "pairs.parquet", tmp_path / "dpo", 12)
    rows = [ast.literal_eval(line) for line in said.splitlines() if line.startswith("{'loss'")]
    assert float(rows[0]["loss"]) == pytest.approx(0.6931, abs=1e-3)
    margins = [float(row["rewards/margins"]) for row in rows]
    assert margins[-1] > margins[0]
    trained = load_file(tmp_path / "dpo" / "model.safetensors")
    assert set(trained) == set(Checkpoint(tmp_path / "dpo").names)


def test_a_reward_model_by_stock_trl_tells_better_answers(folder: Path, tmp_path: Path) -> None:
    said = run("reward.py", folder / "lm", folder / "pairs.parquet", tmp_path / "reward", 80)
    rows = [ast.literal_eval(line) for line in said.splitlines() if line.startswith("{'loss'")]
    assert float(rows[0]["loss"]) > 0.3
    assert float(rows[-1]["loss"]) < 0.8 * float(rows[0]["loss"])
    assert "score.weight" in load_file(tmp_path / "reward" / "model.safetensors")


def test_the_libraries_compute_the_losses_that_our_objectives_compute(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder / "lm")
    shards = TokenShards(folder / "pack")
    batch = SequenceCollator()([shards[at] for at in range(6)])
    assert ((batch["labels"] != IGNORED) == (batch["labels"] == batch["input_ids"])).all()
    with torch.no_grad():
        theirs = float(model(**batch).loss)
        engine = Scorer(load_step1(folder / "lm").module())
        learned = batch["labels"] != IGNORED
        ours = -engine(batch["input_ids"], learned)
    assert theirs == pytest.approx(float(ours.mean()), rel=1e-4)

    pairs = TokenShards(folder / "pairs")
    objective = Dpo(pairs, 512, mask_audio=True)
    rows = [
        {
            **{"chosen_input_ids": pairs[2 * at][0], "chosen_mask": pairs[2 * at][1]},
            **{"rejected_input_ids": pairs[2 * at + 1][0], "rejected_mask": pairs[2 * at + 1][1]},
        }
        for at in range(4)
    ]
    masked = PairCollator(VOCAB)(rows)
    assert torch.equal(
        masked["completion_mask"].bool(),
        objective.wanted(
            masked["input_ids"], PairCollator(VOCAB, False)(rows)["completion_mask"] > 0
        ),
    )
    audio = masked["input_ids"] >= VOCAB.audio_base
    assert not (masked["completion_mask"].bool() & audio).any()
    assert (PairCollator(VOCAB, mask_audio=False)(rows)["completion_mask"].bool() & audio).any()


def test_the_tokenizer_has_a_piece_for_every_audio_id(folder: Path) -> None:
    tokenizer = load_tokenizer(folder / "lm", VOCAB)
    ids = [VOCAB.bot, 40, 41, VOCAB.eot, VOCAB.audio_base, VOCAB.size - 1]
    text = tokenizer.decode(ids)
    assert text.endswith(f"<audio_0><audio_{VOCAB.size - 1 - VOCAB.audio_base}>")
    assert tokenizer(text)["input_ids"][-3:] == ids[-3:]
    assert tokenizer.eos_token_id == VOCAB.eot


def test_parquet_keeps_every_fact_of_a_pack(folder: Path, tmp_path: Path) -> None:
    for name in ("pack", "pairs"):
        read_parquet(folder / f"{name}.parquet", tmp_path / name)
        was, found = (json.loads((f / name / "pack.json").read_text()) for f in (folder, tmp_path))
        assert found == was
    write_parquet(tmp_path / "pack", tmp_path / "again.parquet")
