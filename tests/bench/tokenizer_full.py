"""The linguistic tokenizer at full size (50 blocks x 512, random weights) on one core.

Run: python -m tests.bench.tokenizer_full, about four minutes. JSON lines:

    one_shot   a minute at once: real-time factor
    streams    1, 4 and 16 streams in turn: real-time factor of one stream, and of all together
    long       one stream of 10 minutes: ms a chunk of 240 ms early and late, MB of memory

Costs are CPU seconds of this process: waiting on a busy machine does not count, sharing its memory
bandwidth does. They do not depend on what the weights hold. The semantic graph is left out.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

import numpy as np
import torch

from step_audio.core.blas import one_blas_thread
from tests.bench.measure import long_stream, speechlike
from tokenizer.codebook import Codebook
from tokenizer.features import FEATURE_SIZE, Cmvn
from tokenizer.linguistic import LinguisticTokenizer
from tokenizer.preprocess import BLOCK_SAMPLES, RATE_HZ
from tokenizer.sanm import SanmConfig, SanmEncoder

FULL_SIZE = SanmConfig(output_size=512, attention_heads=4, linear_units=2048, num_blocks=50)
BLOCK_S = BLOCK_SAMPLES / RATE_HZ
WARM_UP_CHUNKS = 6
"""The encoder looks back 4 chunks; from the fifth on each costs the same."""


def build(blocks: int) -> LinguisticTokenizer:
    """Return a tokenizer of so many blocks."""
    torch.manual_seed(0)
    encoder = (
        SanmEncoder(replace(FULL_SIZE, num_blocks=blocks))
        .eval()
        .requires_grad_(requires_grad=False)
    )
    encoder.pack()
    table = np.random.default_rng(0).standard_normal((1024, 512)).astype(np.float32)
    ones = np.ones(FEATURE_SIZE, dtype=np.float32)
    return LinguisticTokenizer(encoder, Codebook(table), Cmvn(0 * ones, ones))


def one_shot(tokenizer: LinguisticTokenizer, seconds: float) -> float:
    """Return the real-time factor of a clip given at once."""
    tokenizer.encode(speechlike(2.0, RATE_HZ))
    pcm = speechlike(seconds, RATE_HZ)
    begun = time.process_time()
    tokenizer.encode(pcm)
    return (time.process_time() - begun) / seconds


def together(tokenizer: LinguisticTokenizer, streams: int, chunks: int) -> float:
    """Return CPU seconds of `chunks` chunks of all streams, pushed one after another."""
    sound = speechlike((WARM_UP_CHUNKS + chunks + 1) * BLOCK_S, RATE_HZ)
    blocks = [sound[at * BLOCK_SAMPLES :][:BLOCK_SAMPLES] for at in range(WARM_UP_CHUNKS + chunks)]
    stages = [tokenizer.open() for _ in range(streams)]
    begun = 0.0
    for at, block in enumerate(blocks):
        if at == WARM_UP_CHUNKS:
            begun = time.process_time()
        for stage in stages:
            list(stage.push(block))
    return time.process_time() - begun


def line(part: str, **figures: float) -> None:
    """Print one JSON line."""
    rounded = {name: round(value, 4) for name, value in figures.items()}
    print(json.dumps({"bench": f"tokenizer_full.{part}", **rounded}), flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=FULL_SIZE.num_blocks)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--chunks", type=int, default=12, help="of each stream, when together")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the long stream")
    parser.add_argument("--profile", help="accepted like every benchmark's, and not used")
    args = parser.parse_args()
    torch.set_num_threads(1)
    one_blas_thread()  # as serving does; its idle thread would count here
    line("one_shot", rtf=one_shot(build(args.blocks), 60.0 if args.minutes >= 1 else 6.0))
    for streams in args.streams:
        spent = together(build(args.blocks), streams, args.chunks)
        rtf = spent / (args.chunks * BLOCK_S)
        line("streams", streams=streams, rtf_each=rtf / streams, rtf_all=rtf)
    line("long", minutes=args.minutes, **long_stream(build(args.blocks).open(), 60 * args.minutes))


if __name__ == "__main__":
    main()
