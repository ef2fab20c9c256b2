"""The examination of roles: held-out questions to nano in each role that it knows by heart.

An answer counts when it is right and begins with the words of the role. How it is spoken is no part
of it: nano's weights know the words of a role, not yet a manner of its voice.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from step_audio.core.types import Pcm
from step_audio.data.speakers import HELD_NATURAL
from step_audio.eval.examinee import AnswerRecord, ask
from step_audio.eval.intervals import share_interval
from step_audio.eval.wer import normalise
from step_audio.nano.domain import QaSample
from step_audio.nano.domain.carriers import load
from step_audio.nano.domain.draw import Draw
from step_audio.nano.domain.followup import PLAIN
from step_audio.nano.exam.bars import Score
from step_audio.nano.exam.grading import is_right
from step_audio.nano.exam.judge import Ear
from step_audio.nano.exam.questions import (
    SEED,
    TOOL_SEED,
    ExamQuestion,
    speak,
    text_hash,
    training_hashes,
)

QUESTIONS: Final = 40
TRAINING_TEXTS: Final = 5_000
"""Questions of the training grammar that none of these is among."""

InRole = Callable[[str, Pcm, int], AnswerRecord]
"""Answers a question, (T,) at a rate, in a fresh conversation in the role of that name."""


def role_words() -> dict[str, str]:
    """Return the words that an answer in each role begins with, by the name of its card."""
    return {name.removeprefix("a "): said[1] for name, said in load("talk")["roles"].items()}


@dataclass(frozen=True, slots=True)
class RoleAnswer:
    """One question in a role and its answer; `heard`: what a judge heard of it, None: not asked."""

    role: str
    question: ExamQuestion
    record: AnswerRecord
    heard: str | None = None

    @property
    def right(self) -> bool:
        """Whether the answer is right by its text, or as heard where a judge heard it."""
        return is_right(self.question.sample, self._said)

    @property
    def in_role(self) -> bool:
        """Whether it begins with the words of the role."""
        words = normalise(role_words()[self.role])
        return normalise(self._said)[: len(words)] == words

    @property
    def _said(self) -> str:
        return self.record.text if self.heard is None else self.heard


def role_questions(count: int = QUESTIONS, texts: int = TRAINING_TEXTS) -> list[ExamQuestion]:
    """Return held-out questions, none of them among `texts` of training, by natural voices."""
    draw = Draw(random.Random(SEED + 11), "held", TOOL_SEED)
    taken = set(training_hashes(texts, SEED))
    asked: list[ExamQuestion] = []
    while len(asked) < count:
        sample: QaSample = draw.rng.choice(PLAIN)(draw)
        digest = text_hash(sample.question)
        if sample.question and digest not in taken:
            taken.add(digest)
            asked.append(ExamQuestion(sample, HELD_NATURAL[len(asked) % len(HELD_NATURAL)]))
    return asked


def examine_roles(
    answerer: InRole,
    asked: Sequence[ExamQuestion],
    *,
    sounds: Sequence[Pcm] | None = None,
    judge: Ear | None = None,
) -> Iterator[RoleAnswer]:
    """Ask, the roles in turn; yield each answer as it comes.

    Args:
        answerer: the system, with `FakeTools(TOOL_SEED)`.
        asked: the questions.
        sounds: of the questions, (T,) at 16 kHz each; spoken here by default.
        judge: who listens to the answers; None: they are judged by their text.

    Raises: VoicesMissing, EngineMissing: what only training needs is missing.
    """
    roles = tuple(role_words())
    for at, (question, pcm) in enumerate(
        zip(asked, speak(asked) if sounds is None else sounds, strict=True)
    ):
        role = roles[at % len(roles)]

        def in_role(sound: Pcm, rate_hz: int, role: str = role) -> AnswerRecord:
            return answerer(role, sound, rate_hz)

        record = ask(in_role, pcm, 16_000)
        heard = judge.hear(record.pcm, record.rate_hz) if judge is not None else None
        yield RoleAnswer(role, question, record, heard)


def role_scores(answers: Sequence[RoleAnswer]) -> dict[str, Score]:
    """Return the shares of answers that are right, in the words of the role, and both."""
    return {
        "right": _share([a.right for a in answers]),
        "in_role": _share([a.in_role for a in answers]),
        "right_in_role": _share([a.right and a.in_role for a in answers]),
    }


def role_table(answers: Sequence[RoleAnswer]) -> str:
    """Return the scores as a Markdown table, then by role."""
    lines = ["| in a role | answers | share | 95 % |", "|---|---|---|---|"]
    for key, score in role_scores(answers).items():
        low, high = score.interval or (0.0, 1.0)
        hits = round((score.value or 0.0) * score.count)
        said = key.replace("_", " ")
        share = score.value or 0.0
        lines.append(
            f"| {said} | {hits} of {score.count} | {share:.2f} | {low:.2f} to {high:.2f} |"
        )
    for role in role_words():
        of_role = [a for a in answers if a.role == role]
        if of_role:
            both = sum(a.right and a.in_role for a in of_role)
            lines.append(f"| {role}: right in role | {both} of {len(of_role)} | | |")
    return "\n".join(lines) + "\n"


def _share(hits: Sequence[bool]) -> Score:
    if not hits:
        return Score(None)
    return Score(sum(hits) / len(hits), None, len(hits), share_interval(sum(hits), len(hits)))


def role_row(answer: RoleAnswer) -> dict[str, Any]:
    """Return an answer as it is kept."""
    sample, record = answer.question.sample, answer.record
    return {
        "role": answer.role,
        "speaker": answer.question.speaker,
        "question": sample.question,
        "transcript": record.transcript,
        "expected": f"{role_words()[answer.role]} {sample.answer}",
        "text": record.text,
        "heard": answer.heard,
        "calls": [[call.name, call.arguments] for call in record.calls],
        "right": answer.right,
        "in_role": answer.in_role,
        "error": record.error,
    }
