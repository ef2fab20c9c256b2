"""Machine-made speech on disk, deterministic from a seed: the tokenizers' training material.

Run: python -m step_audio.nano.corpus.corpus --out build/nano/speech --utterances 9000
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from step_audio.core.errors import InputError
from step_audio.core.resampling import resample_input
from step_audio.core.types import Pcm
from step_audio.data.speakers import Speaker, draw_training_speaker, is_held_out
from step_audio.data.synthesis import Job, synthesize_many
from step_audio.nano.corpus.non_questions import FOREIGN_SHARE, foreign_job, no_speech, unasked
from step_audio.nano.domain import (
    INTENTS,
    QaSample,
    generate,
    generate_intent,
    qa_sample,
    salad,
    scrambled,
    spoken_words,
    vocabulary,
)

RATE_HZ = 16_000
SHARD = 500
SALAD_SHARE, SCRAMBLED_SHARE, ANSWER_SHARE = 0.17, 0.43, 0.04
"""Shares of word salad, of scrambled questions and of answers; the rest are questions."""

NONSENSE_SHARE = 0.05
"""Sounds that ask nothing: their text is "", they have no phones."""


@dataclass(frozen=True, slots=True)
class CorpusUtterance:
    """One spoken text at 16 kHz, 16-bit, peak-normalised; `sample`: the question that it is."""

    text: str
    speaker: str
    pcm: NDArray[np.int16]
    sample: QaSample | None = None

    @property
    def words(self) -> list[str]:
        """The words as the lexicon spells them."""
        return spoken_words(self.text)


def to_16k(pcm: Pcm, rate_hz: int) -> NDArray[np.int16]:
    """Return sound of any rate as 16 kHz 16-bit with its peak at 0.9."""
    samples = resample_input(pcm, rate_hz, RATE_HZ)
    scaled = samples / max(1e-4, float(np.abs(samples).max())) * 0.9
    return np.asarray(scaled * 32767.0, dtype=np.int16)


def write_shard(
    index: int,
    out: Path,
    size: int = SHARD,
    *,
    guests: float = 0.0,
    natural: float = 0.0,
    intents: Sequence[str] = (),
) -> None:
    """Write shard `index` unless it is there: word salad and sentences by the training voices.

    Args:
        index: number of the shard, and the seed of all in it.
        out: folder.
        size: utterances.
        guests: share of what is not natural that "guest" voices speak.
        natural: share of all utterances that "natural" voices speak.
        intents: when given, nothing but questions of these.
    """
    path = out / f"speech-{index:04d}.safetensors"
    if path.exists():
        return
    out.mkdir(parents=True, exist_ok=True)
    rng, voices = random.Random(index), np.random.default_rng(index)
    planned = [_planned(rng, voices, guests, natural, intents) for _ in range(size)]
    made = synthesize_many([p.job for p in planned if p.job], workers=1)
    sounds = [
        to_16k(*(next(made) if p.job else (no_speech(rng, voices), RATE_HZ))) for p in planned
    ]
    offsets = np.cumsum([0, *map(len, sounds)]).astype(np.int64)
    rows = [[p.text, p.speaker, p.sample and asdict(p.sample)] for p in planned]
    path.with_suffix(".json").write_text(json.dumps(rows), encoding="utf-8")
    temporary = path.with_suffix(".tmp")
    save_file({"pcm": np.concatenate(sounds), "offsets": offsets}, str(temporary))
    temporary.replace(path)


def read_corpus(folder: Path, *, nonsense: bool = False) -> list[CorpusUtterance]:
    """Read every shard of a folder; sounds without a text only when `nonsense` is asked for.

    Raises: InputError: a voice in it is held out for examinations.
    """
    utterances = []
    for path in sorted(folder.glob("speech-*.safetensors")):
        tensors = load_file(str(path))
        rows = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        offsets = tensors["offsets"]
        for i, (text, speaker, sample) in enumerate(rows):
            if not text and not nonsense:
                continue
            if is_held_out(speaker):
                raise InputError(f"{path} holds {speaker}, a voice that only examines; delete it")
            pcm = tensors["pcm"][offsets[i] : offsets[i + 1]]
            utterances.append(CorpusUtterance(text, speaker, pcm, sample and qa_sample(sample)))
    return utterances


@dataclass(frozen=True, slots=True)
class _Planned:
    """An utterance to make; without a job it is noise."""

    text: str
    speaker: str
    job: Job | None
    sample: QaSample | None = None


def _planned(
    rng: random.Random,
    voices: np.random.Generator,
    guests: float,
    natural: float,
    intents: Sequence[str] = (),
) -> _Planned:
    dice = rng.random()
    if intents:
        while not (asked := generate_intent(rng, rng.choice(intents), "train")).question:
            pass
        who = draw_training_speaker(voices, guest_share=guests, natural_share=natural)
        return _Planned(
            asked.question, who.name, Job(asked.question, who, *_manner(rng, who)), asked
        )
    if dice < NONSENSE_SHARE:
        job = foreign_job(rng) if rng.random() < FOREIGN_SHARE else None
        return _Planned("", job.speaker.name if job else "noise", job, unasked(rng))
    sample = None
    dice = rng.random()
    if dice < SALAD_SHARE:
        text = salad(rng, vocabulary())
    elif dice < SALAD_SHARE + SCRAMBLED_SHARE:
        text = scrambled(rng)
    else:
        while not (drawn := generate(rng, "train")).question:
            pass
        answers = dice > 1.0 - ANSWER_SHARE
        text, sample = (drawn.answer, None) if answers else (drawn.question, drawn)
    who = draw_training_speaker(voices, guest_share=guests, natural_share=natural)
    return _Planned(text, who.name, Job(text, who, *_manner(rng, who)), sample)


def read_questions(folder: Path, index: int) -> list[QaSample]:
    """Return the questions among the utterances of one shard."""
    rows = json.loads((folder / f"speech-{index:04d}.json").read_text(encoding="utf-8"))
    return [qa_sample(sample) for _, _, sample in rows if sample]


def _manner(rng: random.Random, speaker: Speaker) -> tuple[float, float]:
    """Draw rate and pitch factors; answer voices and natural ones are also heard as they are."""
    if speaker.engine in ("flite", "kokoro") and rng.random() < 0.4:
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
    parser.add_argument(
        "--natural", type=float, default=0.0, help="share of Kokoro's voices and blends of them"
    )
    parser.add_argument(
        "--intents", nargs="+", default=(), choices=INTENTS, help="nothing but questions of these"
    )
    args = parser.parse_args(argv)
    count = args.utterances // args.shard
    for index in tqdm(range(args.first, args.first + count), desc="speech"):
        write_shard(
            index,
            Path(args.out),
            args.shard,
            guests=args.guests,
            natural=args.natural,
            intents=args.intents,
        )


if __name__ == "__main__":
    main()
