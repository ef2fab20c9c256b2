"""Grades: what a judge hears in the answers, set against what should be there."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from step_audio.core.error_rates import edits
from step_audio.core.types import Pcm
from step_audio.data.speakers import speaker
from step_audio.data.synthesis import MAX_TEXT, synthesize
from step_audio.eval.examinee import AnswerRecord, Reader, Resynthesiser, same_call
from step_audio.eval.intervals import rate_interval, share_interval
from step_audio.eval.wer import exact, in_order, normalise, word_error_rate
from step_audio.nano.domain import QaSample
from step_audio.nano.domain.numbers import ONES, ORDINALS, OTHERS, TENS
from step_audio.nano.exam.bars import Score
from step_audio.nano.exam.judge import Ear, in_words
from step_audio.nano.exam.questions import ExamQuestion

SOURCE_VOICE: Final = "flite-rms"
NOT_UNDERSTOOD: Final = ("sorry", "not")
"""Key words of every answer to something that was not understood."""

SHUFFLES: Final = 7
NUMBERS: Final = frozenset((*ONES, *TENS[1:], *ORDINALS[1:], *OTHERS))


@dataclass(frozen=True, slots=True)
class Graded:
    """One question, its answer, what the judge heard in it, and in the right answer spoken by the
    source voice."""

    question: ExamQuestion
    record: AnswerRecord
    heard: str
    ceiling_heard: str

    @property
    def right(self) -> bool:
        return is_right(self.question.sample, self.heard)

    @property
    def ceiling_right(self) -> bool:
        return is_right(self.question.sample, self.ceiling_heard)


class SourceVoice:
    """What a judge hears when the source voice says a text: the ceiling of any score."""

    def __init__(self, judge: Ear) -> None:
        self._judge = judge
        self._heard: dict[str, str] = {}

    def hear(self, text: str) -> str:
        """Return the words heard; "" for a text that holds no word."""
        speakable = re.sub(r"[^A-Za-z0-9 ,.?!:;'-]", "", text).strip(" ,.?!:;'-")[:MAX_TEXT]
        if not speakable:
            return ""
        if speakable not in self._heard:
            sound = synthesize(speakable, speaker(SOURCE_VOICE))
            self._heard[speakable] = self._judge.hear(*sound)
        return self._heard[speakable]


def grade(
    questions: Sequence[ExamQuestion], records: Sequence[AnswerRecord], judge: Ear
) -> list[Graded]:
    """Let the judge hear every answer and the right answer in the source voice."""
    source = SourceVoice(judge)
    return [
        Graded(q, r, judge.hear(r.pcm, r.rate_hz), source.hear(q.sample.answer))
        for q, r in zip(questions, records, strict=True)
    ]


def is_right(sample: QaSample, heard: str) -> bool:
    """Return whether the heard words hold the sample's key words in order, and no other number.

    "Forty" is not right when "forty two" was heard. Numbers count after the last "is" ("twelve
    plus thirty is forty two" repeats the operands before it), or anywhere if there is none.
    """
    if not sample.key_words or not in_order(sample.key_words, heard):
        return False
    keys = [word for key in sample.key_words for word in normalise(key)]
    numbers = [word for word in keys if word in NUMBERS]
    words = normalise(heard)
    if "is" in words and "is" not in keys:
        words = words[len(words) - words[::-1].index("is") :]
    return not numbers or [word for word in words if word in NUMBERS] == numbers


def right_share(graded: Sequence[Graded]) -> Score:
    """Return the share of right answers as heard, with its ceiling."""
    ceiling = _share([g.ceiling_right for g in graded])
    return _shared([g.right for g in graded], ceiling)


def right_in_text(graded: Sequence[Graded]) -> Score:
    """Return the share of answers that are right by their text, whatever they sound like."""
    return _shared([is_right(g.question.sample, g.record.text) for g in graded])


def shuffled_share(graded: Sequence[Graded]) -> Score:
    """Return the share of answers that are right for another question with another answer.

    Averaged over several rotations; a model that listens scores at chance here, and so does the
    ceiling.
    """
    hits, ceiling = [], []
    for shift in range(1, min(SHUFFLES, len(graded) - 1) + 1):
        for i, g in enumerate(graded):
            other = graded[(i + shift) % len(graded)].question.sample
            if other.answer != g.question.sample.answer:
                hits.append(is_right(other, g.heard))
                ceiling.append(is_right(other, g.ceiling_heard))
    return Score(_share(hits), _share(ceiling), len(hits))


def call_share(graded: Sequence[Graded]) -> Score:
    """Return the share of questions with a tool whose first call is right in name and arguments."""
    hits = []
    for g in graded:
        expected = g.question.sample.call
        if expected is not None:
            first = g.record.calls[:1]
            hits.append(any(same_call((c.name, c.arguments), expected) for c in first))
    return _shared(hits)


def needless_calls(graded: Sequence[Graded]) -> Score:
    """Return the share of questions without a tool that were answered with a call."""
    calls = [bool(g.record.calls) for g in graded if g.question.sample.call is None]
    return _shared(calls)


def answer_wer(records: Sequence[AnswerRecord], judge: Ear) -> Score:
    """Return the word error rate of answers' sound against their own text, with the ceiling.

    Answers without text are left out; answers without sound count as all wrong.
    """
    said = [r for r in records if normalise(r.text)]
    if not said:
        return Score(None)
    texts = [in_words(r.text) for r in said]
    source = SourceVoice(judge)
    heard = [judge.hear(r.pcm, r.rate_hz) for r in said]
    return _errors(texts, heard, [source.hear(r.text) for r in said])


def resynthesis_wer(
    resynthesise: Resynthesiser, texts: Sequence[str], sounds: Sequence[Pcm], judge: Ear
) -> Score:
    """Return the word error rate after tokens and vocoder; ceiling: of the sounds themselves.

    Args:
        resynthesise: the path under test.
        texts: what the sounds say.
        sounds: at 16 kHz.
        judge: who listens.
    """
    if not texts:
        return Score(None)
    after = [judge.hear(*resynthesise(pcm, 16_000)) for pcm in sounds]
    before = [judge.hear(pcm, 16_000) for pcm in sounds]
    return _errors([in_words(text) for text in texts], after, before)


def reading_wer(read: Reader, texts: Sequence[str], judge: Ear) -> Score:
    """Return the word error rate of texts read aloud, with the source voice's as the ceiling."""
    source = SourceVoice(judge)
    heard = [judge.hear(*read(text)) for text in texts]
    return _errors([in_words(t) for t in texts], heard, [source.hear(t) for t in texts])


def transcript_wer(graded: Sequence[Graded]) -> Score:
    """Return the word error rate of what the model says it heard; no transcript is all wrong."""
    if not graded:
        return Score(None)
    said = [in_words(g.question.sample.question) for g in graded]
    return _errors(said, [in_words(g.record.transcript) for g in graded])


def words_heard(said: Sequence[str], records: Sequence[AnswerRecord]) -> Score:
    """Return the share of single words that the model says it heard, and nothing else."""
    pairs = zip(said, records, strict=True)
    return _shared([normalise(word) == normalise(in_words(r.transcript)) for word, r in pairs])


def changed_share(pairs: Sequence[tuple[AnswerRecord, AnswerRecord]]) -> Score:
    """Return the share of pairs whose two answers differ in their words; no answer, no change."""
    changed = [bool(normalise(a.text)) and normalise(a.text) != normalise(b.text) for a, b in pairs]
    return _shared(changed)


def refused_share(records: Sequence[AnswerRecord]) -> Score:
    """Return the share of answers that say that nothing was understood."""
    return _shared([in_order(NOT_UNDERSTOOD, r.text) for r in records])


def transcript_scores(graded: Sequence[Graded]) -> dict[str, float | None]:
    """Return word error rate and exact share of what the model says it heard."""
    pairs = [(g.question.sample.question, g.record.transcript) for g in graded]
    if not any(transcript for _, transcript in pairs):
        return {"wer": None, "exact": None}
    said, heard = zip(*pairs, strict=True)
    return {"wer": word_error_rate(said, heard), "exact": exact(said, heard)}


def by_intent(graded: Sequence[Graded]) -> dict[str, dict[str, float | int]]:
    """Return number asked, answered right, and right in the ceiling, for each intent."""
    groups: dict[str, list[Graded]] = defaultdict(list)
    for g in graded:
        groups[g.question.sample.intent].append(g)
    return {
        intent: {
            "asked": len(group),
            "right": sum(g.right for g in group),
            "ceiling": sum(g.ceiling_right for g in group),
        }
        for intent, group in sorted(groups.items())
    }


def length_errors(graded: Sequence[Graded]) -> dict[str, int]:
    """Return words lost or added between the model's text and its sound, and failed answers."""
    distance = sum(edits(normalise(g.record.text), normalise(g.heard)) for g in graded)
    return {"word_errors": distance, "failed": sum(bool(g.record.error) for g in graded)}


def _errors(
    texts: Sequence[str], heard: Sequence[str], ceiling: Sequence[str] | None = None
) -> Score:
    """Return the word error rate with its interval, and that of the ceiling."""
    errors = [edits(normalise(t), normalise(h)) for t, h in zip(texts, heard, strict=True)]
    sizes = [len(normalise(text)) for text in texts]
    best = word_error_rate(texts, ceiling) if ceiling is not None else None
    interval = rate_interval(errors, sizes)
    return Score(word_error_rate(texts, heard), best, len(texts), interval)


def _shared(hits: Sequence[bool], ceiling: float | None = None) -> Score:
    if not hits:
        return Score(None, ceiling, 0)
    return Score(_share(hits), ceiling, len(hits), share_interval(sum(hits), len(hits)))


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None
