"""Let a trained encoder hear speech on disk as guests sound, for an LM that learns beside it.

Each utterance of a corpus (`nano.corpus.corpus`), and of folders of speech made ahead, gets another
speaker, room, noise or rate, and is encoded: `heard-*` shards for `nano.training.lm`. A shard is
written as soon as it is full, in random order, so that training may begin with the first.

Run: python -m step_audio.nano.training.heard_files --tokenizers step_audio/weights/nano/tokenizer \
         --speech build/nano/speech --people FOLDER --out build/nano/lm-data
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from step_audio.core.decoding import decode_audio
from step_audio.core.errors import InputError
from step_audio.core.types import Pcm
from step_audio.data.speakers import is_held_out
from step_audio.data.spoken import SpokenItem, to_codes
from step_audio.nano.corpus.corpus import CorpusUtterance, read_corpus, to_16k
from step_audio.nano.domain import qa_sample
from step_audio.nano.training.heard import HeardWriter
from step_audio.nano.training.lm_data import varied
from tokenizer.loading import load_tokenizer

LONGEST_FILE_SECONDS = 1800.0
SHARD = 500


def read_made(folder: Path, pattern: str = "ask-*.json") -> Iterator[CorpusUtterance]:
    """Yield the utterances of speech made ahead: a sound and a JSON file of the same name.

    The JSON holds `rate` and `utterances`, each with text, voice, start, samples and sample (the
    grammar's question, or null).

    Raises: InputError: a voice in it is held out for examinations.
    """
    for path in sorted(folder.glob(pattern)):
        content = json.loads(path.read_text(encoding="utf-8"))
        sounds = [p for p in path.parent.glob(f"{path.stem}.*") if p.suffix != ".json"]
        with sounds[0].open("rb") as file:
            pcm, rate = decode_audio(file, LONGEST_FILE_SECONDS)
        for row in content["utterances"]:
            if is_held_out(row["voice"]):
                raise InputError(f"{path} holds {row['voice']}, a voice that only examines")
            scale = rate / content["rate"]
            begin, length = (round(row[key] * scale) for key in ("start", "samples"))
            sound = to_16k(pcm[begin : begin + length], rate)
            sample = row["sample"] and qa_sample(row["sample"])
            yield CorpusUtterance(row["text"], row["voice"], sound, sample)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizers", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--speech", action="append", default=[], help="folder of a corpus")
    parser.add_argument("--people", action="append", default=[], help="folder of made speech")
    parser.add_argument(
        "--times", type=int, default=1, help="how often each is heard, each time otherwise"
    )
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    tokenizer = load_tokenizer(Path(args.tokenizers))
    said: list[CorpusUtterance] = []
    for folder in args.speech:
        said += read_corpus(Path(folder), nonsense=True)
    for folder in args.people:
        said += read_made(Path(folder))
    rng, noise = random.Random(args.seed), np.random.default_rng(args.seed)
    writer = HeardWriter(Path(args.out), SHARD)
    for _ in range(args.times):
        for one in tqdm(rng.sample(said, len(said)), desc="heard"):
            pcm: Pcm = one.pcm.astype(np.float32) / np.float32(32768.0)
            groups = tokenizer.encode_whole(varied(pcm, rng, noise) if one.text else pcm)
            writer.add_item(SpokenItem(one.text, one.speaker, to_codes(groups)), one.sample)
    writer.close()


if __name__ == "__main__":
    main()
