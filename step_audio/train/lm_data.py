"""Prepare the LM's data: text tokenizer, spoken questions and answers as token groups.

Run: python -m step_audio.train.lm_data --tokenizers build/nano/tokenizers/export \
         --out build/nano/lm-data --part 0/2        (once a part, side by side or in turn)
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tokenizer.loading import load_tokenizer
from tqdm import tqdm

from step_audio.core.types import Pcm
from step_audio.core.vocab import Vocab
from step_audio.data.augment import augment, warp
from step_audio.data.domain import QaSample, generate, salad, vocabulary
from step_audio.data.speakers import Speaker, draw_training_speaker, speaker
from step_audio.data.spoken import SpokenItem, read_spoken, to_codes, write_spoken
from step_audio.data.synthesis import Job, synthesize_many
from step_audio.dialog.prompt import PromptBuilder
from step_audio.engine.text import BpeTextTokenizer
from step_audio.train.lm_samples import SampleComposer
from step_audio.train.text_tokenizer import train_bpe
from tokenizer.preprocess import resample

TEXT_SIZE = 2048
ANSWER_SPEAKER = "flite-rms"
SALAD_SHARE = 0.35
SHARD = 500


def nano_vocab() -> Vocab:
    """Return nano's id layout: 2048 text ids, then the audio ids."""
    return Vocab(audio_base=TEXT_SIZE, heard_open=5, heard_close=6, call=7)


def prepare_text(out: Path, tokenizers: Path) -> None:
    """Write the text tokenizer, the vocabulary's facts and the centroids, once."""
    if (out / "vocab.json").exists():
        return
    out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(5)
    train_bpe(_texts(rng, 40_000), TEXT_SIZE, out / "tokenizer.json")
    np.save(out / "centroids.npy", np.load(tokenizers / "linguistic_tokenizer.npy"))
    (out / "vocab.json").write_text(json.dumps(asdict(nano_vocab())))


def _texts(rng: random.Random, count: int) -> Iterator[str]:
    for role in ("system", "human", "assistant", "tool"):
        yield f"{role}\n"
    yield from vocabulary()
    for _ in range(count):
        sample = generate(rng, "train")
        yield sample.question
        yield sample.answer
        if sample.call is not None:
            yield f"{sample.call[0]} {sample.call[1]}"
            yield sample.result or ""


def hearing_shard(index: int, tokenizer: Any, shard: int, out: Path) -> None:
    """Write one shard of questions and salad by many speakers."""
    path = out / f"hearing-{index:04d}.safetensors"
    if path.exists():
        return
    rng, noise = random.Random(10_000 + index), np.random.default_rng(index)
    words = vocabulary()
    planned: list[tuple[str, QaSample | None, Speaker]] = []
    while len(planned) < shard:
        qa = None
        if rng.random() < SALAD_SHARE:
            text = salad(rng, words)
        else:
            qa = generate(rng, "train")
            text = qa.question
        if text:
            planned.append((text, qa, draw_training_speaker(noise)))
    jobs = [
        Job(text, who, rate=rng.uniform(0.85, 1.2), pitch=rng.uniform(0.85, 1.15))
        for text, _, who in planned
    ]
    items: list[SpokenItem] = []
    questions: list[dict[str, Any] | None] = []
    for (text, qa, who), made in zip(planned, synthesize_many(jobs, workers=1), strict=True):
        pcm = _sixteen(made)
        if rng.random() < 0.4:
            pcm = warp(pcm, noise)
        if rng.random() < 0.5:
            pcm = augment(pcm, noise, 0.7)
        groups = tokenizer.encode(pcm * np.float32(rng.uniform(0.2, 0.95)))
        items.append(SpokenItem(text, who.name, to_codes(groups)))
        questions.append(None if qa is None else asdict(qa))
    (out / f"hearing-{index:04d}.qa.json").write_text(json.dumps(questions))
    write_spoken(path, items)


def speaking_shard(index: int, tokenizer: Any, shard: int, out: Path) -> None:
    """Write one shard of answers (and some salad) by the answer voice."""
    path = out / f"speaking-{index:04d}.safetensors"
    if path.exists():
        return
    rng = random.Random(20_000 + index)
    words = vocabulary()
    voice = speaker(ANSWER_SPEAKER)
    texts: dict[str, None] = {}
    while len(texts) < shard:
        texts[salad(rng, words) if rng.random() < 0.2 else generate(rng, "train").answer] = None
    sounds = synthesize_many([Job(text, voice) for text in texts], workers=1)
    items = [
        SpokenItem(text, voice.name, to_codes(tokenizer.encode(_sixteen(sound))))
        for text, sound in zip(texts, sounds, strict=True)
    ]
    write_spoken(path, items)


def _sixteen(made: tuple[Pcm, int]) -> Pcm:
    pcm, rate = made
    samples: Pcm = resample(pcm, rate)
    return samples / np.float32(max(1e-3, float(np.abs(samples).max())))


def load_composer(data: Path, vocab: Vocab, rng: random.Random) -> SampleComposer:
    """Return the sample composer over everything prepared in `data`."""
    builder = PromptBuilder(BpeTextTokenizer(data / "tokenizer.json"), vocab)
    hearing: list[tuple[SpokenItem, QaSample | None]] = []
    for path in sorted(data.glob("hearing-*.safetensors")):
        questions = json.loads(path.with_suffix("").with_suffix(".qa.json").read_text())
        for item, qa in zip(read_spoken(path), questions, strict=True):
            hearing.append((item, None if qa is None else _sample(qa)))
    speaking = [i for p in sorted(data.glob("speaking-*.safetensors")) for i in read_spoken(p)]
    return SampleComposer(builder, hearing, speaking, rng)


def _sample(row: dict[str, Any]) -> QaSample:
    history = tuple(_sample(past) for past in row["history"])
    call = tuple(row["call"]) if row["call"] else None
    lists = {k: tuple(row[k]) for k in ("slots", "key_words")}
    return QaSample(**{**row, **lists, "call": call, "history": history})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizers", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--hearing", type=int, default=16_000)
    parser.add_argument("--speaking", type=int, default=8_000)
    parser.add_argument("--shard", type=int, default=SHARD)
    parser.add_argument("--part", default="0/1", help="which of how many equal parts, e.g. 1/2")
    args = parser.parse_args()
    out = Path(args.out)
    prepare_text(out, Path(args.tokenizers))
    tokenizer = load_tokenizer(Path(args.tokenizers))
    part, parts = (int(x) for x in args.part.split("/"))
    shards = [
        *((speaking_shard, i) for i in range(args.speaking // args.shard)),
        *((hearing_shard, i) for i in range(args.hearing // args.shard)),
    ]
    for make, index in tqdm(shards[part::parts], desc=f"part {args.part}"):
        make(index, tokenizer, args.shard, out)


if __name__ == "__main__":
    main()
