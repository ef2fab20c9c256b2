"""The questions of the examination: drawn from held-out phrasings, spoken, checked to be new."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import soxr

from step_audio.core.types import Pcm
from step_audio.data.augment import coloured_noise, mix
from step_audio.data.speakers import GPL, HELD_NATURAL, Speaker, speaker
from step_audio.data.synthesis import Job, synthesize_many
from step_audio.eval.wer import normalise
from step_audio.nano.domain import QaSample, generate

SEED: Final = 7_2025
QUESTIONS: Final = 450
"""Of the whole examination: 200 by natural voices, 200 in noise, 50 by unseen machine voices."""
TOOL_SEED: Final = 20
"""Right answers are built on what `FakeTools(TOOL_SEED)` returns: use these tools."""

UNSEEN: Final = ("festival-ked", "festival-ked", "espeak-en-us+klatt4")
SEEN: Final = ("flite-rms", "flite-slt", "flite-awb", "flite-kal16")
SEEN_NOISE_DB: Final = 15.0
MAX_DRAWS: Final = 100_000
APART: Final = frozenset({"spell"})
"""Intents that are left out: the judge is weak on single letters."""

FOREIGN: Final = (
    ("de", "Guten Morgen, wie komme ich am besten zum Bahnhof?"),
    ("es", "Me gustaria comprar dos kilos de manzanas rojas."),
    ("fr", "Je voudrais une chambre avec vue sur la mer."),
    ("it", "Domani andiamo tutti insieme in montagna."),
    ("nl", "Ik heb gisteren een nieuwe fiets gekocht."),
    ("fi", "Minulla on punainen auto ja kaksi koiraa."),
    ("pl", "Gdzie jest najblizsza apteka w tym miescie?"),
    ("sv", "Jag skulle vilja ha en kopp kaffe med mycket mjolk."),
)


@dataclass(frozen=True, slots=True)
class ExamQuestion:
    """A sample of the domain and who speaks it, over noise at `noise_db` or in quiet."""

    sample: QaSample
    speaker: str
    noise_db: float | None = None

    @property
    def seen_voice(self) -> bool:
        return speaker(self.speaker).split == "train"

    @property
    def natural_voice(self) -> bool:
        return self.speaker in HELD_NATURAL


@dataclass(frozen=True, slots=True)
class Exam:
    """All that will be asked.

    Attributes:
        questions: held-out questions over the whole domain.
        sums: held-out sums of two two-digit numbers.
        pairs: two questions each that differ in one slot only.
        hash: SHA-256 of all texts and voices: equal hashes are equal examinations.
        checked_against: training texts that were compared.
    """

    questions: tuple[ExamQuestion, ...]
    sums: tuple[ExamQuestion, ...]
    pairs: tuple[tuple[ExamQuestion, ExamQuestion], ...]
    hash: str
    checked_against: int


def build_exam(questions: int = QUESTIONS, seed: int = SEED, training_texts: int = 20_000) -> Exam:
    """Return the examination of that size; a tenth as many sums and pairs come on top.

    No question's text is among `training_texts` questions drawn from the training grammar.
    """
    seen = training_hashes(training_texts, seed)
    extra = max(2, questions // 10)
    drawn = held_out(random.Random(seed), seen)
    main = [_voiced(i, sample) for i, (sample, _) in zip(range(questions), drawn, strict=False)]
    taken = {text_hash(q.sample.question) for q in main}
    sums = _take(held_out(random.Random(seed + 1), seen | taken), _is_two_digit_sum, extra)
    pairs = _pairs(held_out(random.Random(seed + 2), seen), extra)
    return Exam(
        tuple(main),
        tuple(ExamQuestion(sample, _extra_voice(i)) for i, sample in enumerate(sums)),
        pairs,
        _exam_hash(main, sums, pairs),
        training_texts,
    )


def speak(questions: Sequence[ExamQuestion], seed: int = SEED, workers: int = 1) -> Iterator[Pcm]:
    """Yield each question's sound at 16 kHz, noise added where the question has it."""
    noise = np.random.default_rng(seed)
    jobs = [Job(q.sample.question, speaker(q.speaker)) for q in questions]
    for question, (pcm, rate) in zip(questions, synthesize_many(jobs, workers), strict=True):
        sound = soxr.resample(pcm, rate, 16_000) if rate != 16_000 else pcm
        if question.noise_db is not None:
            sound = mix(sound, coloured_noise(len(sound), noise), question.noise_db)
        yield _bounded(sound)


def nonsense(seed: int = SEED) -> Iterator[tuple[str, Pcm]]:
    """Yield sounds that hold no question, named by kind, at 16 kHz: silence, noises, speech in
    other languages."""
    noise = np.random.default_rng(seed)
    for seconds in (1.0, 2.5):
        floor = noise.standard_normal(int(16_000 * seconds), dtype=np.float32)
        yield "silence", floor * np.float32(1e-4)
    for level in (0.02, 0.1, 0.3):
        sound = coloured_noise(32_000, noise)
        yield "noise", sound / np.abs(sound).max() * np.float32(level)
    jobs = [
        Job(text, Speaker(f"espeak-{code}", "espeak", code, "m", GPL, "held"))
        for code, text in FOREIGN
    ]
    for pcm, rate in synthesize_many(jobs, workers=1):
        yield "foreign", _bounded(soxr.resample(pcm, rate, 16_000))


def training_hashes(count: int, seed: int) -> frozenset[str]:
    """Return the hashes of `count` questions of the training grammar."""
    rng = random.Random(f"training {seed}")
    return frozenset(text_hash(generate(rng, "train").question) for _ in range(count))


def text_hash(text: str) -> str:
    """Return the SHA-256 of a text's words."""
    return hashlib.sha256(" ".join(normalise(text)).encode()).hexdigest()


def held_out(rng: random.Random, seen: frozenset[str] | set[str]) -> Iterator[tuple[QaSample, str]]:
    """Yield new single questions of the held-out grammar without end, each with its text's hash.

    None is among `seen`, which are hashes of training questions.
    """
    given: set[str] = set()
    while True:
        sample = generate(rng, "held", TOOL_SEED)
        if sample.history or not sample.question or sample.intent in APART:
            continue
        digest = text_hash(sample.question)
        if digest not in seen and digest not in given:
            given.add(digest)
            yield sample, digest


def _voiced(index: int, sample: QaSample) -> ExamQuestion:
    """Of nine questions four are of natural voices, four of seen voices in noise, one of an unseen
    machine voice."""
    turn, nine = index % 9, index // 9
    if turn == 8:
        return ExamQuestion(sample, UNSEEN[nine % len(UNSEEN)])
    if turn % 2 == 0:
        return ExamQuestion(sample, HELD_NATURAL[(4 * nine + turn // 2) % len(HELD_NATURAL)])
    return ExamQuestion(sample, SEEN[turn // 2], SEEN_NOISE_DB)


def _extra_voice(index: int) -> str:
    """Natural voices and unseen machine voices in turn."""
    voices = HELD_NATURAL if index % 2 == 0 else UNSEEN
    return voices[index // 2 % len(voices)]


def _take(
    drawn: Iterator[tuple[QaSample, str]], wanted: Callable[[QaSample], bool], count: int
) -> list[QaSample]:
    found: list[QaSample] = []
    for sample, _ in itertools.islice(drawn, MAX_DRAWS):
        if wanted(sample):
            found.append(sample)
        if len(found) == count:
            break
    return found


def _is_two_digit_sum(sample: QaSample) -> bool:
    if sample.intent != "sum" or sample.call is None:
        return False
    expression = str(json.loads(sample.call[1]).get("expression", ""))
    return re.fullmatch(r"\d\d\s*\+\s*\d\d", expression) is not None


def _pairs(
    drawn: Iterator[tuple[QaSample, str]], count: int
) -> tuple[tuple[ExamQuestion, ExamQuestion], ...]:
    """Find questions equal but for one slot and its answer."""
    waiting: dict[tuple[str, ...], QaSample] = {}
    pairs: list[tuple[ExamQuestion, ExamQuestion]] = []
    used: set[str] = set()
    for sample, _ in itertools.islice(drawn, MAX_DRAWS):
        for pattern in _patterns(sample):
            other = waiting.setdefault((sample.intent, *pattern), sample)
            fresh = other.question not in used and sample.question not in used
            if fresh and other.question != sample.question and other.answer != sample.answer:
                used |= {other.question, sample.question}
                who = _extra_voice(len(pairs))
                pairs.append((ExamQuestion(other, who), ExamQuestion(sample, who)))
        if len(pairs) >= count:
            break
    return tuple(pairs[:count])


def _patterns(sample: QaSample) -> Iterator[tuple[str, ...]]:
    """Yield the question's words with one slot blanked, for each slot that it names once."""
    words = normalise(sample.question)
    for slot in sample.slots:
        part = normalise(slot)
        starts = [i for i in range(len(words) - len(part) + 1) if words[i : i + len(part)] == part]
        if part and len(starts) == 1:
            yield (*words[: starts[0]], "_", *words[starts[0] + len(part) :])


def _exam_hash(
    main: Sequence[ExamQuestion],
    sums: Sequence[QaSample],
    pairs: Sequence[tuple[ExamQuestion, ExamQuestion]],
) -> str:
    rows = [f"{q.sample.question}|{q.speaker}|{q.noise_db}" for q in main]
    rows += [s.question for s in sums]
    rows += [f"{a.sample.question}|{b.sample.question}" for a, b in pairs]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _bounded(pcm: Pcm) -> Pcm:
    return pcm / np.float32(max(1.0, float(np.abs(pcm).max())))
