"""A random model with a text tokenizer of its own, and packs for it as parquet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from step_audio.core.vocab import Vocab
from step_audio.data.parquet import write_parquet
from step_audio.data.shards import ShardWriter, TokenSample
from step_audio.engine.step1 import Step1, Step1Config
from step_audio.engine.weights import save_step1
from step_audio.nano.training.text_tokenizer import train_bpe

VOCAB = Vocab(audio_base=280, heard_open=5, heard_close=6, call=7)
CONFIG = Step1Config(
    vocab_size=VOCAB.size,
    hidden_size=32,
    intermediate_size=64,
    num_attention_heads=4,
    num_attention_groups=2,
    num_hidden_layers=2,
)


def write_model(folder: Path) -> Path:
    """Write packed int8 weights and a `tokenizer.json`, as nano ships."""
    model = Step1(CONFIG)
    model.initialize(torch.Generator().manual_seed(0), std=0.1)
    save_step1(folder, CONFIG, model.state_dict(), int8=True)
    train_bpe(["what time is it in paris", "it is noon"] * 4, 280, folder / "tokenizer.json")
    return folder


def sequence(rng: np.random.Generator) -> TokenSample:
    """Return a question, then an answer that repeats it and a run of audio ids."""
    asked = rng.integers(20, 60, int(rng.integers(3, 7))).tolist()
    audio = (VOCAB.audio_base + np.arange(10) % 7).tolist()
    ids = [4, 30, *asked, 3, 4, 31, *asked, *audio, 3]
    learned = len(asked) + 11
    return TokenSample(ids, [False] * (len(ids) - learned) + [True] * learned, "AQAA", "a")


def write_sequences(folder: Path, count: int = 24) -> Path:
    """Return the parquet file of a pack."""
    rng = np.random.default_rng(0)
    writer = ShardWriter(folder / "pack", VOCAB)
    for _ in range(count):
        writer.add(sequence(rng))
    writer.close(text_run=10)
    write_parquet(folder / "pack", folder / "pack.parquet")
    return folder / "pack.parquet"


def write_pairs(folder: Path, count: int = 12) -> Path:
    """Return the parquet file of pairs: the rejected answer has other words and other sound."""
    rng = np.random.default_rng(1)
    writer = ShardWriter(folder / "pairs", VOCAB, kind="pairs")
    for _ in range(count):
        good = sequence(rng)
        bad = list(good.ids)
        for at in np.flatnonzero(good.mask)[:-1]:
            bad[at] = 70 if bad[at] < VOCAB.audio_base else bad[at] + 9
        writer.add(good)
        writer.add(TokenSample(bad, good.mask, good.task, good.id))
    writer.close()
    write_parquet(folder / "pairs", folder / "pairs.parquet")
    return folder / "pairs.parquet"
