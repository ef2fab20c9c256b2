"""Rows of the ablation: each differs in what it says, trains once, and lands in the table."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from step_audio.core.errors import InputError
from step_audio.core.vocab import Vocab
from step_audio.data.spoken import SpokenItem, to_codes, write_spoken
from step_audio.dialog.prompting.prompt import PromptBuilder
from step_audio.engine.step1 import Step1, Step1Config
from step_audio.engine.weights import save_step1
from step_audio.nano.domain import QaSample, generate_intent
from step_audio.nano.training.ablation import ROWS, Ablation, AblationQuestion, table
from step_audio.nano.training.text_tokenizer import train_bpe
from step_audio.train import held_out
from step_audio.train.finetune import Recipe
from tests.fakes import group

VOCAB = Vocab(audio_base=300, heard_open=5, heard_close=6, call=7, hears_semantic=False)
RECIPE = Recipe(steps=2, batch_tokens=800, micro_tokens=800, max_length=640, bf16=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two shards of questions and answers in the layout of lm_data, and a model to start from."""
    at = tmp_path_factory.mktemp("lm-data")
    rng = random.Random(0)
    for shard in range(2):
        qas: list[QaSample | None] = [
            generate_intent(rng, intent, "train")
            for intent in ("capital", "fact", "small_talk", "count") * 3
        ]
        spoken = to_codes([group(n) for n in range(8)])
        hearing = [SpokenItem(qa.question, "flite-slt", spoken) for qa in qas if qa]
        hearing.append(SpokenItem(f"stray words {shard}", "espeak-x", spoken))
        speaking = [SpokenItem(qa.answer, "flite-rms", spoken) for qa in qas if qa]
        speaking.append(SpokenItem(f"stray words {shard}", "flite-rms", spoken))
        rows = [None if qa is None else asdict(qa) for qa in [*qas, None]]
        (at / f"hearing-{shard:04d}.qa.json").write_text(json.dumps(rows))
        write_spoken(at / f"hearing-{shard:04d}.safetensors", hearing)
        write_spoken(at / f"speaking-{shard:04d}.safetensors", speaking)
    train_bpe(["what is the capital of france"] * 4, 300, at / "tokenizer.json")
    (at / "vocab.json").write_text(json.dumps(asdict(VOCAB)))
    config = Step1Config(32, 48, 4, 2, 2, VOCAB.size, max_seq_len=1024)
    model = Step1(config)
    model.initialize(torch.Generator().manual_seed(0))
    save_step1(at / "start", config, model.state_dict())
    return at, at / "start"


def measure(
    checkpoint: Path, builder: PromptBuilder, vocab: Vocab, questions: Sequence[AblationQuestion]
) -> dict[str, float]:
    assert questions
    return held_out.losses(checkpoint, [(q.prompt, q.right) for q in questions[:3]], vocab)


def test_a_row_trains_what_it_needs_and_nothing_twice(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    rows = Ablation(*made, tmp_path, RECIPE, sequences=24)
    figures = rows.run("merge-5:5:1", measure)
    assert set(figures) == {"text nats", "audio nats"}
    assert all((tmp_path / name / "export").is_dir() for name in ("sft1", "sft2", "dpo"))
    assert not (tmp_path / "dpo-unmasked").exists()
    before = (tmp_path / "sft1" / "steps.jsonl").stat().st_mtime_ns
    assert rows.run("sft1", measure) != figures
    assert (tmp_path / "sft1" / "steps.jsonl").stat().st_mtime_ns == before
    page = table(tmp_path, "Two steps each.")
    assert [line.split(" | ")[0] for line in page.splitlines()[2:4]] == ["| sft1", "| merge-5:5:1"]
    assert page.endswith("Two steps each.\n")


def test_rows_differ_in_what_they_are_named_for(made: tuple[Path, Path], tmp_path: Path) -> None:
    rows = Ablation(*made, tmp_path, RECIPE, sequences=60)
    with_salad, without = (rows._composer(ROWS[name]) for name in ("sft1", "sft1-no-salad"))
    assert any(item.text.startswith("stray") for item in with_salad.hearing)
    assert not any(item.text.startswith("stray") for item in without.hearing)
    held = rows._held()
    # A shard that is still being written must not change what is held out.
    unfinished = made[0] / "hearing-0002.qa.json"
    unfinished.write_text("[]")
    assert rows._held() == held
    unfinished.unlink()
    assert not held & {item.text for item in with_salad.hearing}
    usual, longer = (rows._builder(ROWS[name]) for name in ("sft1", "sft1-20:15"))
    assert (usual.text_run, usual.group_run) == (10, 3)
    assert (longer.text_run, longer.group_run) == (20, 3)
    with pytest.raises(InputError, match="there are base, sft1"):
        rows.run("nothing", measure)


def test_greedy_answers_are_the_same_each_time(made: tuple[Path, Path]) -> None:
    prompts = [[4, 20, 3], [4, 30, 31, 3]]
    first = held_out.answers(made[1], prompts, VOCAB, 8)
    assert first == held_out.answers(made[1], prompts, VOCAB, 8)
    assert first == [held_out.answers(made[1], [prompt], VOCAB, 8)[0] for prompt in prompts]
    assert all(len(ids) <= 8 for ids in first)
