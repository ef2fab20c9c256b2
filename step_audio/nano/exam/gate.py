"""The gate: a small fixed examination that weights must pass before they are committed.

It asks the same questions each time and fails when a score leaves the interval of the weights that
shipped before. It takes minutes, where the whole examination takes an hour, so it tells a loss and
not how good nano is.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal

from step_audio.core.errors import InputError
from step_audio.core.json_files import read_object
from step_audio.data.speakers import HELD_NATURAL
from step_audio.eval.examinee import Answerer, AnswerRecord, ask
from step_audio.nano.exam.bars import Score
from step_audio.nano.exam.grading import (
    Graded,
    answer_wer,
    call_share,
    right_in_text,
    transcript_wer,
)
from step_audio.nano.exam.judge import Ear, WhisperJudge
from step_audio.nano.exam.questions import (
    SEED,
    SEEN,
    SEEN_NOISE_DB,
    ExamQuestion,
    held_out,
    speak,
    training_hashes,
)

FIGURES: Final = Path(__file__).with_name("gate.json")
NATURAL, NOISY, HEARD = 32, 24, 40
"""Questions by natural voices, by seen voices in noise, and answers that are listened to."""

GATED: Final[dict[str, Literal["higher", "lower"]]] = {
    "right_natural": "higher",
    "right_noisy": "higher",
    "right_call": "higher",
    "transcript_wer": "lower",
    "answer_wer": "lower",
}
"""Scores and which way is better; "right" by the answer's text."""


def questions() -> list[ExamQuestion]:
    """Return what the gate asks: held-out questions, other ones than the examination's."""
    drawn = held_out(random.Random(SEED + 7), training_hashes(5_000, SEED))
    asked = []
    for index in range(NATURAL + NOISY):
        sample, _ = next(drawn)
        if index < NATURAL:
            asked.append(ExamQuestion(sample, HELD_NATURAL[index % len(HELD_NATURAL)]))
        else:
            asked.append(ExamQuestion(sample, SEEN[index % len(SEEN)], SEEN_NOISE_DB))
    return asked


def measure(
    answerer: Answerer, judge: Ear | None = None, asked: Sequence[ExamQuestion] | None = None
) -> dict[str, Score]:
    """Ask, and return the score of each gated measure.

    Raises: WhisperMissing, VoicesMissing, EngineMissing: what only training needs is missing.
    """
    asked = questions() if asked is None else asked
    records = [ask(answerer, pcm, 16_000) for pcm in speak(asked)]
    graded = [_unheard(q, record) for q, record in zip(asked, records, strict=True)]
    natural = [g for g in graded if g.question.natural_voice]
    return {
        "right_natural": right_in_text(natural),
        "right_noisy": right_in_text([g for g in graded if g.question.seen_voice]),
        "right_call": call_share(graded),
        "transcript_wer": transcript_wer(natural),
        "answer_wer": answer_wer(records[:HEARD], judge or WhisperJudge()),
    }


def _unheard(question: ExamQuestion, record: AnswerRecord) -> Graded:
    return Graded(question, record, "", "")


def losses(scores: Mapping[str, Score], figures: Path = FIGURES) -> list[str]:
    """Return a line for every score that lies beyond the interval kept of it; [] to pass.

    Raises: InputError: there are no figures, or not of these scores.
    """
    kept = read_object(figures)
    found = []
    for key, better in GATED.items():
        try:
            low, high = (float(bound) for bound in kept[key]["interval"])
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{figures} has no interval of {key}; keep figures anew") from None
        value = scores[key].value
        if value is None:
            found.append(f"{key} was not measured")
        elif value < low if better == "higher" else value > high:
            found.append(f"{key} is {value:.3f}, outside {low:.3f} to {high:.3f}")
    return found


def keep(scores: Mapping[str, Score], figures: Path = FIGURES) -> None:
    """Write scores as the figures that later weights are held to."""
    rows: dict[str, Any] = {key: asdict(scores[key]) for key in GATED}
    figures.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def table(scores: Mapping[str, Score]) -> str:
    """Return the scores as a Markdown table."""
    lines = ["| gated | score | 95 % | n |", "|---|---|---|---|"]
    for key in GATED:
        score = scores[key]
        value = "-" if score.value is None else f"{score.value:.3f}"
        low, high = score.interval or (float("nan"), float("nan"))
        lines.append(f"| {key} | {value} | {low:.3f} to {high:.3f} | {score.count} |")
    return "\n".join(lines) + "\n"
