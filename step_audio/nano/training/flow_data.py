"""Speak, tokenize and lay down what the flow decoder learns from.

Run: python -m step_audio.nano.training.flow_data --tokenizers build/nano/tokenizers/export \
         --speaker build/nano/speaker/export/campplus.onnx --out build/nano/flow-data

Seven of ten utterances are by the answer voices, as they are; the rest by other people and a few
formant voices. Shards are made from their number alone and kept once made, so the command can be
cut off and repeated, also with more utterances.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from step_audio.data.speakers import ANSWER_SPEAKERS, speaker
from step_audio.data.synthesis import Job, synthesize_many
from step_audio.nano.corpus.corpus import CorpusUtterance, to_16k
from step_audio.nano.domain import generate, salad, vocabulary
from step_audio.nano.training.flow_items import prepare, speaker_vector
from step_audio.nano.training.flow_shards import EMBEDDINGS, write_embeddings
from step_audio.nano.training.speaker_net import speaker_fbank
from tokenizer.loading import load_tokenizer

ANSWER_SHARE: Final = 0.7
RMS_SHARE: Final = 0.7
"""Of the answer voices: the LM writes its tokens in this voice."""
SALAD_SHARE: Final = 0.4
OTHERS: Final = (
    "flite-awb",
    "flite-kal16",
    "espeak-en-us",
    "espeak-en-us+f2",
    "espeak-en-us+f5",
    "espeak-en-us+m3",
    "espeak-en-us+m7",
)
MEASURED: Final = 12
"""Utterances whose vectors are averaged to a speaker's."""


def speech(shard: int, size: int) -> list[CorpusUtterance]:
    """Return the utterances of a shard, at 16 kHz."""
    rng, words = random.Random(30_000 + shard), vocabulary()
    jobs: list[Job] = []
    while len(jobs) < size:
        text = salad(rng, words) if rng.random() < SALAD_SHARE else generate(rng, "train").answer
        name = _name(rng)
        if text:
            jobs.append(Job(text, speaker(name)))
    sounds = synthesize_many(jobs, workers=1)
    return [
        CorpusUtterance(job.text, job.speaker.name, to_16k(*sound))
        for job, sound in zip(jobs, sounds, strict=True)
    ]


def _name(rng: random.Random) -> str:
    if rng.random() >= ANSWER_SHARE:
        return rng.choice(OTHERS)
    main, second = ANSWER_SPEAKERS
    return main if rng.random() < RMS_SHARE else second


def measure_speakers(
    utterances: list[CorpusUtterance], network: Path, threads: int
) -> dict[str, NDArray[np.float32]]:
    """Return the mean vector (192,) of each speaker, by the network of `speaker_net`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(network), options)
    name = session.get_inputs()[0].name
    vectors: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    for utterance in utterances:
        if len(vectors[utterance.speaker]) < MEASURED:
            pcm = torch.from_numpy(utterance.pcm.astype(np.float32) / 32768)
            vector = session.run(None, {name: speaker_fbank(pcm)[None].numpy()})[0][0]
            vectors[utterance.speaker].append(vector / np.linalg.norm(vector))
    return {k: np.mean(v, axis=0, dtype=np.float32) for k, v in vectors.items()}


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizers", required=True, help="folder that load_tokenizer reads")
    parser.add_argument("--speaker", help="campplus.onnx; without it, fixed vectors by name")
    parser.add_argument("--out", required=True)
    parser.add_argument("--utterances", type=int, default=3000)
    parser.add_argument("--shard", type=int, default=250)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    out = Path(args.out)
    tokenizer = load_tokenizer(Path(args.tokenizers), threads=args.threads)
    if not (out / EMBEDDINGS).exists():
        vectors = {name: speaker_vector(name) for name in (*ANSWER_SPEAKERS, *OTHERS)}
        if args.speaker:
            # So many have every voice several times over.
            vectors |= measure_speakers(speech(0, 250), Path(args.speaker), args.threads)
        write_embeddings(out, vectors)
    shards = -(-args.utterances // args.shard)
    prepare(lambda number: speech(number, args.shard), shards, out, tokenizer.encode_whole)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
