"""A whole weights folder of tiny random models: every class that serves, in a second, no download.

What it says means nothing; that it says anything exercises loading, composition and the runner.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from step_audio.core.vocab import Vocab
from step_audio.core.weights import Facts, Weights, record, write_facts
from step_audio.engine.step1 import Step1, Step1Config
from step_audio.engine.weights import save_step1
from step_audio.nano.training.text_tokenizer import train_bpe
from tests.tokenizer.golden import write_published
from tokenizer.loading import convert
from vocoder.encoder import EncoderConfig
from vocoder.estimator import EstimatorConfig
from vocoder.flow import FlowModel
from vocoder.flow_config import nano_flow
from vocoder.flow_loading import save_flow
from vocoder.hift import HiftConfig, HiftGenerator

VOCAB = Vocab(audio_base=280, heard_open=5, heard_close=6, call=7)
VOICES = ("rms", "slt")


def write_tiny(folder: Path) -> Weights:
    """Write and record the folder, in the layout that nano ships in."""
    torch.manual_seed(0)
    _tokenizer(folder)
    _lm(folder / "lm")
    _vocoder(folder / "vocoder")
    for name in VOICES:
        (folder / "voices" / name).mkdir(parents=True)
        np.save(folder / "voices" / name / "embedding.npy", np.ones(192, np.float32))
    write_facts(folder, Facts(VOCAB, context=512))
    return record(folder)


def _tokenizer(folder: Path) -> None:
    published = folder.with_name(f"{folder.name}-published")
    write_published(published)
    convert(published, folder / "tokenizer")


def _lm(folder: Path) -> None:
    config = Step1Config(
        vocab_size=VOCAB.size,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=4,
        num_attention_groups=2,
        num_hidden_layers=2,
    )
    save_step1(folder, config, Step1(config).state_dict(), int8=True)
    texts = ["what time is it in paris", "it is noon"] * 4
    learned = train_bpe(texts, VOCAB.audio_base, folder / "tokenizer.json")
    assert learned == VOCAB.audio_base, "a random LM may draw any text id, so each must exist"


def _vocoder(folder: Path) -> None:
    flow = replace(
        nano_flow(),
        input_size=32,
        encoder=EncoderConfig(32, 32, 2, 64, 1),
        estimator=EstimatorConfig(
            channels=(32, 32), attention_head_dim=16, n_blocks=1, num_mid_blocks=1, num_heads=2
        ),
        n_steps=2,
    )
    save_flow(folder / "flow.safetensors", FlowModel(flow))
    hift = HiftGenerator(HiftConfig(base_channels=32, f0_channels=32))
    tensors = {name: t.contiguous() for name, t in hift.state_dict().items()}
    save_file(tensors, folder / "hift.safetensors")
    (folder / "hift.json").write_text(json.dumps(asdict(hift.config)))
