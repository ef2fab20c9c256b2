"""Machine-made speech on disk, deterministic from a seed: the tokenizers' training material.

Run: python -m step_audio.data.corpus --out build/nano/speech --utterances 9000
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from step_audio.core.types import Pcm
from step_audio.data.domain import generate, salad, spoken_words, vocabulary
from step_audio.data.speakers import Speaker, draw_training_speaker
from step_audio.data.synthesis import Job, synthesize_many

RATE_HZ = 16_000
SHARD = 500
SALAD_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Utterance:
    """One spoken text at 16 kHz, 16-bit, peak-normalised."""

    text: str
    speaker: str
    pcm: NDArray[np.int16]

    @property
    def words(self) -> list[str]:
        """The words as the lexicon spells them."""
        return spoken_words(self.text)


def to_16k(pcm: Pcm, rate_hz: int) -> NDArray[np.int16]:
    """Return sound of any rate as 16 kHz 16-bit with its peak at 0.9."""
    samples = soxr.resample(pcm, rate_hz, RATE_HZ) if rate_hz != RATE_HZ else pcm
    scaled = samples / max(1e-4, float(np.abs(samples).max())) * 0.9
    return np.asarray(scaled * 32767.0, dtype=np.int16)


def write_shard(index: int, out: Path, size: int = SHARD, guests: float = 0.0) -> None:
    """Write shard `index` unless it is there: word salad and sentences by the training voices.

    `guests` is the share of the utterances that "guest" voices speak.
    """
    path = out / f"speech-{index:04d}.safetensors"
    if path.exists():
        return
    out.mkdir(parents=True, exist_ok=True)
    rng, voices = random.Random(index), np.random.default_rng(index)
    words = vocabulary()
    jobs: list[Job] = []
    while len(jobs) < size:
        speaker = draw_training_speaker(voices, guest_share=guests)
        jobs += [Job(t, speaker, *_manner(rng, speaker)) for t in [_text(rng, words)] if t]
    sounds = [to_16k(*sound) for sound in synthesize_many(jobs, workers=1)]
    offsets = np.cumsum([0, *map(len, sounds)]).astype(np.int64)
    rows = [[job.text, job.speaker.name] for job in jobs]
    path.with_suffix(".json").write_text(json.dumps(rows), encoding="utf-8")
    temporary = path.with_suffix(".tmp")
    save_file({"pcm": np.concatenate(sounds), "offsets": offsets}, str(temporary))
    temporary.replace(path)


def read_corpus(folder: Path) -> list[Utterance]:
    """Read every shard of a folder."""
    utterances = []
    for path in sorted(folder.glob("speech-*.safetensors")):
        tensors = load_file(str(path))
        rows = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        offsets = tensors["offsets"]
        for i, (text, speaker) in enumerate(rows):
            pcm = tensors["pcm"][offsets[i] : offsets[i + 1]]
            utterances.append(Utterance(text, speaker, pcm))
    return utterances


def _text(rng: random.Random, words: tuple[str, ...]) -> str:
    if rng.random() < SALAD_SHARE:
        return salad(rng, words)
    sample = generate(rng, "train")
    return sample.question if rng.random() < 0.6 else sample.answer


def _manner(rng: random.Random, speaker: Speaker) -> tuple[float, float]:
    """Draw rate and pitch factors; the answer voices are also heard as they are."""
    if speaker.engine == "flite" and rng.random() < 0.4:
        return 1.0, 1.0
    return rng.uniform(0.85, 1.2), rng.uniform(0.85, 1.15)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True)
    parser.add_argument("--utterances", type=int, default=9000)
    parser.add_argument("--shard", type=int, default=SHARD)
    parser.add_argument("--first", type=int, default=0, help="number of the first shard to write")
    parser.add_argument("--guests", type=float, default=0.0, help="share of RHVoice's voices")
    args = parser.parse_args(argv)
    count = args.utterances // args.shard
    for index in tqdm(range(args.first, args.first + count), desc="speech"):
        write_shard(index, Path(args.out), args.shard, args.guests)


if __name__ == "__main__":
    main()
