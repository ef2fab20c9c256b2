"""A model of the published layout and packs of made-up sequences, small enough for any test."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from step_audio.core.vocab import Vocab
from step_audio.data.shards import ShardWriter, TokenSample
from step_audio.engine.step1 import Step1, Step1Config

VOCAB = Vocab(audio_base=64)
CONFIG = Step1Config(
    hidden_size=32,
    intermediate_size=48,
    num_attention_heads=4,
    num_attention_groups=2,
    num_hidden_layers=3,
    vocab_size=VOCAB.size,
    max_seq_len=256,
)


def write_published(folder: Path, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    """Write a random model as the published ones lie on disk: config, index, two shards."""
    folder.mkdir(parents=True, exist_ok=True)
    model = Step1(CONFIG)
    model.initialize(torch.Generator().manual_seed(seed), std=0.1)
    state = {name: tensor.to(dtype) for name, tensor in model.state_dict().items()}
    names = sorted(state)
    halves = {"model-00001.safetensors": names[::2], "model-00002.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({name: state[name].contiguous() for name in part}, folder / file)
    where = {name: file for file, part in halves.items() for name in part}
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    keys = ("hidden_size", "intermediate_size", "num_attention_heads", "num_attention_groups")
    more = ("num_hidden_layers", "vocab_size", "max_seq_len", "rms_norm_eps")
    config = {name: getattr(CONFIG, name) for name in (*keys, *more)}
    published = {"architectures": ["Step1ForCausalLM"], "model_type": "step1", **config}
    (folder / "config.json").write_text(json.dumps(published))
    (folder / "tokenizer.json").write_text("{}")
    return folder


def answer(rng: np.random.Generator, text: int, groups: int) -> TokenSample:
    """Return a question of text ids, then an answer that repeats them and a run of audio ids."""
    asked = rng.integers(8, 20, text)
    audio = VOCAB.audio_base + np.arange(5 * groups) % 7
    ids = [4, 9, *asked.tolist(), 3, 4, 10, *asked.tolist(), *audio.tolist(), 3]
    learned = text + 5 * groups + 1
    return TokenSample(ids, [False] * (len(ids) - learned) + [True] * learned, "AQAA", "a")


def write_pack(folder: Path, count: int = 40, seed: int = 0) -> Path:
    """Write sequences of different lengths, in several shards."""
    rng = np.random.default_rng(seed)
    writer = ShardWriter(folder, VOCAB, shard_tokens=300)
    for _ in range(count):
        writer.add(answer(rng, int(rng.integers(2, 9)), int(rng.integers(0, 5))))
    writer.close()
    return folder


def write_pairs(folder: Path, count: int = 12, seed: int = 1) -> Path:
    """Write pairs: the preferred answer repeats the question, the rejected one does not."""
    rng = np.random.default_rng(seed)
    writer = ShardWriter(folder, VOCAB, kind="pairs", shard_tokens=200)
    for _ in range(count):
        good = answer(rng, int(rng.integers(3, 7)), 2)
        bad = list(good.ids)
        for at in np.flatnonzero(good.mask)[:-1]:
            bad[at] = 30 if bad[at] < VOCAB.audio_base else bad[at] + 9
        writer.add(good)
        writer.add(TokenSample(bad, good.mask, good.task, good.id))
    writer.close()
    return folder
