"""Prepare the LM's data: text tokenizer, spoken questions and their spoken answers as groups.

Shard i holds questions and word salad by many speakers ("hearing") and, by the answer voice, the
answers to those questions ("speaking"). Training may start on the first shards while more are made.
With --speech the questions are those of a corpus that `nano.training.hearing --heard` encodes
while it learns; only their answers are made here. --open adds shards of English of every kind
("reading"), which the answer voice reads.

Run: python -m step_audio.nano.training.lm_data --tokenizers build/nano/tokenizers/export \
         --out build/nano/lm-data --part 0/2        (once a part, side by side or in turn)
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import soxr
import torch
from tqdm import tqdm

from step_audio.core.resampling import resample_input
from step_audio.core.types import Pcm
from step_audio.core.vocab import Vocab
from step_audio.data.augment import augment, pad_noise, warp
from step_audio.data.speakers import Speaker, draw_training_speaker, speaker
from step_audio.data.spoken import SpokenItem, read_spoken, to_codes, write_spoken
from step_audio.data.synthesis import Job, synthesize_many
from step_audio.dialog.prompting.prompt import PromptBuilder
from step_audio.dialog.speakable.pronunciation import (
    FILE,
    read_pronunciations,
    write_pronunciations,
)
from step_audio.engine.text import BpeTextTokenizer
from step_audio.nano.corpus.corpus import read_questions
from step_audio.nano.corpus.non_questions import FOREIGN_SHARE, foreign_job, no_speech, unasked
from step_audio.nano.corpus.open_english import open_texts, read_cmudict
from step_audio.nano.domain import (
    IN_ROLE_INTENTS,
    QaSample,
    generate,
    generate_intent,
    greetings,
    role_start,
    salad,
    vocabulary,
)
from step_audio.nano.domain.letter_rules import learn_rules
from step_audio.nano.training.heard import PATTERN, read_heard
from step_audio.nano.training.lm_samples import SampleComposer
from step_audio.nano.training.text_tokenizer import train_bpe
from tokenizer.loading import load_tokenizer
from tokenizer.preprocess import RATE_HZ
from tokenizer.stream import DualCodebookTokenizer

TEXT_SIZE = 2048
ANSWER_SPEAKER = "flite-rms"
SALAD_SHARE = 0.3
SPOKEN_SALAD = 60
"""Word salad that the answer voice speaks, a shard: any word in any place."""
NONSENSE_SHARE = 0.06
"""Sound without a question, on top of what the domain draws of it: it must not be answered."""
SHARD = 500
MORE, IN_ROLE_SHARE = 500, 0.4
"""Number of the first shard of `--answers`, and the share of them by what is answered in a role."""

RULE_WORDS = 40_000
"""Words of the dictionary that letter rules are learned from; all take minutes for little more."""


def nano_vocab() -> Vocab:
    """Return nano's id layout: 2048 text ids, then the audio ids."""
    return Vocab(audio_base=TEXT_SIZE, heard_open=5, heard_close=6, call=7, hears_semantic=False)


def prepare_text(out: Path, tokenizers: Path, weights: Path | None = None) -> None:
    """Write the text tokenizer, the vocabulary's facts and the centroids, once.

    `weights` are packed ones whose LM will be trained on: its text tokenizer is taken over.
    """
    if (out / "vocab.json").exists():
        return
    out.mkdir(parents=True, exist_ok=True)
    if weights is not None:
        shutil.copyfile(weights / "lm" / "tokenizer.json", out / "tokenizer.json")
    else:
        train_bpe(_texts(random.Random(5), 40_000), TEXT_SIZE, out / "tokenizer.json")
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


Planned = tuple[str, QaSample | None, Speaker]


def plan(index: int, size: int, guests: float = 0.0, natural: float = 0.0) -> list[Planned]:
    """Return what shard `index` contains; a question of "" stands for sound without speech.

    `guests` and `natural` are the shares that such voices say; the words are the same without them.
    """
    rng, voices = random.Random(10_000 + index), np.random.default_rng(index)
    words = vocabulary()
    planned: list[Planned] = []
    while len(planned) < size:
        who = draw_training_speaker(voices, guest_share=guests, natural_share=natural)
        if rng.random() < SALAD_SHARE:
            planned.append((salad(rng, words), None, who))
        elif rng.random() < NONSENSE_SHARE:
            planned.append(("", unasked(rng), who))
        else:
            qa = generate(rng, "train")
            planned.append((qa.question, qa, who))
    return planned


def hearing_shard(
    index: int,
    tokenizer: DualCodebookTokenizer,
    size: int,
    out: Path,
    *,
    guests: float = 0.0,
    natural: float = 0.0,
) -> None:
    """Write the questions and the salad of one shard."""
    path = out / f"hearing-{index:04d}.safetensors"
    if path.exists():
        return
    rng, noise = random.Random(30_000 + index), np.random.default_rng(30_000 + index)
    planned = plan(index, size, guests, natural)
    jobs = [
        Job(text, who, rate=rng.uniform(0.85, 1.2), pitch=rng.uniform(0.85, 1.15))
        if text
        else (foreign_job(rng) if rng.random() < FOREIGN_SHARE else None)
        for text, _, who in planned
    ]
    sounds = synthesize_many([job for job in jobs if job], workers=1)
    items: list[SpokenItem] = []
    for (text, _, who), job in zip(planned, jobs, strict=True):
        sound = _sixteen(next(sounds)) if job else no_speech(rng, noise)
        groups = tokenizer.encode_whole(varied(sound, rng, noise) if job else sound)
        items.append(SpokenItem(text, who.name if text else "noise", to_codes(groups)))
    questions = [None if qa is None else asdict(qa) for _, qa, _ in planned]
    (out / f"hearing-{index:04d}.qa.json").write_text(json.dumps(questions))
    write_spoken(path, items)


def speaking_shard(
    index: int,
    tokenizer: DualCodebookTokenizer,
    size: int,
    out: Path,
    answers: Iterable[str] | None = None,
) -> None:
    """Write the answers of one shard (or the given ones), and some salad, in the answer voice."""
    path = out / f"speaking-{index:04d}.safetensors"
    if path.exists():
        return
    rng, words = random.Random(20_000 + index), vocabulary()
    planned = (qa.answer for _, qa, _ in plan(index, size) if qa is not None)
    texts = set(planned if answers is None else answers)
    texts |= {salad(rng, words) for _ in range(size * SPOKEN_SALAD // SHARD)}
    voice = speaker(ANSWER_SPEAKER)
    ordered = sorted(texts)
    sounds = synthesize_many([Job(text, voice) for text in ordered], workers=1)
    items = [
        SpokenItem(text, voice.name, to_codes(tokenizer.encode_whole(_sixteen(sound))))
        for text, sound in zip(ordered, sounds, strict=True)
    ]
    write_spoken(path, items)


def more_answers(rng: random.Random, count: int, *, lasting: bool) -> set[str]:
    """Return different answers of the grammar, a part of them by what is answered in a role.

    Args:
        rng: chooses.
        count: how many.
        lasting: begin with all that is said about roles, manners and at a greeting.
    """
    texts = set(greetings()) if lasting else set()
    for _ in range(count if lasting else 0):
        role = generate_intent(rng, "role", "train")
        texts |= {role.answer, role_start(role), generate_intent(rng, "style", "train").answer}
    texts.discard("")
    while len(texts) < count:
        in_role = rng.random() < IN_ROLE_SHARE
        intent = rng.choice(IN_ROLE_INTENTS) if in_role else ""
        sample = generate_intent(rng, intent, "train") if intent else generate(rng, "train")
        texts |= {sample.answer} - {""}
    return texts


def varied(pcm: Pcm, rng: random.Random, noise: np.random.Generator) -> Pcm:
    """Return speech at 16 kHz as it may reach nano: another ear, room, noise, rate and level."""
    if rng.random() < 0.4:
        pcm = warp(pcm, noise)
    if rng.random() < 0.5:
        pcm = augment(pcm, noise, 0.7)
    if rng.random() < 0.4:
        # Clients send 24 kHz: the way there and back moves codes that lie near a border.
        pcm = resample_input(np.asarray(soxr.resample(pcm, RATE_HZ, 24_000)), 24_000, RATE_HZ)
    if rng.random() < 0.6:
        # Where an utterance begins within a group decides a fifth of its codes.
        pcm = pad_noise(pcm, rng.uniform(0.0, 0.36), rng.uniform(0.0, 0.3), noise)
    return pcm * np.float32(rng.uniform(0.2, 0.95))


def _sixteen(made: tuple[Pcm, int]) -> Pcm:
    pcm, rate = made
    samples: Pcm = resample_input(pcm, rate, RATE_HZ)
    return samples / np.float32(max(1e-3, float(np.abs(samples).max()))) * np.float32(0.9)


def prepare_words(out: Path, cmudict: Path) -> None:
    """Write how any English word is said, once; see `speakable.pronunciation`."""
    if (out / FILE).exists():
        return
    entries = read_cmudict(cmudict)
    learned = random.Random(7).sample(sorted(entries), min(RULE_WORDS, len(entries)))
    rules = learn_rules({word: entries[word] for word in learned})
    write_pronunciations(out / FILE, vocabulary(), entries, rules)


def reading_shards(
    texts: Iterable[str], tokenizer: DualCodebookTokenizer, count: int, size: int, out: Path
) -> None:
    """Write `count` shards of texts in the answer voice."""
    voice, drawn = speaker(ANSWER_SPEAKER), iter(texts)
    for index in tqdm(range(count), desc="open English"):
        path = out / f"reading-{index:04d}.safetensors"
        planned = list(itertools.islice(drawn, size))
        if path.exists():
            continue
        sounds = synthesize_many([Job(text, voice) for text in planned], workers=1)
        items = [
            SpokenItem(text, voice.name, to_codes(tokenizer.encode_whole(_sixteen(sound))))
            for text, sound in zip(planned, sounds, strict=True)
        ]
        write_spoken(path, items)


def load_composer(data: Path, vocab: Vocab, rng: random.Random) -> SampleComposer:
    """Return a sample composer over everything prepared in `data` so far."""
    builder = PromptBuilder(BpeTextTokenizer(data / "tokenizer.json"), vocab)
    words = read_pronunciations(data / FILE) if (data / FILE).exists() else None
    composer = SampleComposer(builder, rng, pronunciations=words)
    extend_composer(composer, data)
    return composer


def extend_composer(composer: SampleComposer, data: Path) -> int:
    """Add the shards that both halves are there of and that are new; return how many."""
    added = 0
    for path in sorted(data.glob("hearing-*.safetensors")):
        speaking = path.with_name(path.name.replace("hearing", "speaking"))
        if path.name in composer.shards or not speaking.exists():
            continue
        composer.shards.add(path.name)
        composer.add(*read_heard(path))
        added += 1
    for path in sorted(data.glob(PATTERN)):
        if path.name not in composer.shards:
            composer.shards.add(path.name)
            composer.add(*read_heard(path))
            added += 1
    for path in sorted(data.glob("speaking-*.safetensors")):
        if path.name not in composer.shards:
            composer.shards.add(path.name)
            composer.add_answers(read_spoken(path))
            added += 1
    for path in sorted(data.glob("reading-*.safetensors")):
        if path.name not in composer.shards:
            composer.shards.add(path.name)
            composer.reading += read_spoken(path)
            added += 1
    return added


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizers", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--shards", type=int, default=30)
    parser.add_argument("--shard", type=int, default=SHARD, help="utterances a shard")
    parser.add_argument("--guests", type=float, default=0.0, help="share of RHVoice's voices")
    parser.add_argument("--natural", type=float, default=0.0, help="share of Kokoro's voices")
    parser.add_argument("--speech", help="corpus whose questions to answer; none are encoded here")
    parser.add_argument("--from", dest="weights", help="packed weights whose LM will be trained on")
    parser.add_argument(
        "--answers",
        type=int,
        default=0,
        help="shards of answers to what is typed or asked in a role",
    )
    parser.add_argument("--open", type=int, default=0, help="shards of open English to read")
    parser.add_argument(
        "--cmudict", default="build/voices/cmudict.dict", help="CMUdict, from `make nano-voices`"
    )
    parser.add_argument("--part", default="0/1", help="which of how many equal parts, e.g. 1/2")
    args = parser.parse_args(argv)
    out = Path(args.out)
    # Parts run side by side: threads of two processes on one core wait for each other.
    torch.set_num_threads(1)
    prepare_text(out, Path(args.tokenizers), args.weights and Path(args.weights))
    tokenizer = load_tokenizer(Path(args.tokenizers))
    if args.open:
        prepare_words(out, Path(args.cmudict))
        texts = open_texts(read_cmudict(Path(args.cmudict)), seed=11)
        reading_shards(texts, tokenizer, args.open, args.shard, out)
    part, parts = (int(number) for number in args.part.split("/"))
    for index in tqdm(range(part, args.shards, parts), desc=f"LM data {args.part}"):
        if args.speech:
            questions = read_questions(Path(args.speech), index)
            answers = [qa.answer for qa in questions]
            speaking_shard(index, tokenizer, args.shard, out, answers)
        else:
            hearing_shard(
                index, tokenizer, args.shard, out, guests=args.guests, natural=args.natural
            )
            speaking_shard(index, tokenizer, args.shard, out)
    rng = random.Random(77)
    for index in tqdm(range(MORE, MORE + args.answers), desc="answers"):
        more = more_answers(rng, args.shard, lasting=index == MORE)
        speaking_shard(index, tokenizer, args.shard, out, more)


if __name__ == "__main__":
    main()
