"""Typed questions: those outside nano's world are declined, those within it are not.

`step-audio examine --typed -o FOLDER` asks three sets: questions that nano was never taught
(`typed_questions.yaml`), a hundred of its grammar in phrasings that were held out, typed as people
type, and what is said in passing. A question is declined when its answer says sorry, and not.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import yaml

from step_audio.eval.intervals import share_interval
from step_audio.eval.wer import in_order
from step_audio.nano.domain import QaSample, generate
from step_audio.nano.exam.grading import NOT_UNDERSTOOD, is_right
from step_audio.nano.exam.questions import TOOL_SEED
from step_audio.nano.training.lm_samples import as_typed

QUESTIONS: Final = Path(__file__).with_name("typed_questions.yaml")
SEED: Final = 777
WITHIN: Final = 100
"""Questions of the grammar that are asked."""

TypedAnswerer = Callable[[str], str]
"""Answers one typed question in a fresh conversation, with `FakeTools(TOOL_SEED)`."""


@dataclass(frozen=True, slots=True)
class TypedRow:
    """One question: its set ("asked", "within", "social"), its kind, its answer, and whether that
    is as it should be."""

    of: str
    kind: str
    question: str
    answer: str
    declined: bool
    right: bool


def typed_questions() -> dict[str, Any]:
    """Return the sets of `typed_questions.yaml`."""
    loaded: dict[str, Any] = yaml.safe_load(QUESTIONS.read_text(encoding="utf-8"))
    return loaded


def within(count: int = WITHIN, seed: int = SEED) -> Iterator[tuple[QaSample, str]]:
    """Yield held-out questions of the grammar that nano should answer, each as it is typed."""
    rng = random.Random(seed)

    def drawn() -> Iterator[tuple[QaSample, str]]:
        while True:
            sample = generate(rng, "held", TOOL_SEED)
            if sample.question and not sample.history and sample.intent != "not_understood":
                yield sample, as_typed(sample.question, rng)

    return islice(drawn(), count)


def examine_typed(answer: TypedAnswerer, count: int = WITHIN) -> list[TypedRow]:
    """Ask all sets; return a row a question."""
    known = typed_questions()
    rows = []
    for kind, questions in known["asked"].items():
        for question in questions:
            text = answer(question)
            rows.append(TypedRow("asked", kind, question, text, _declined(text), _declined(text)))
    for sample, question in within(count):
        text = answer(question)
        # An answer of the grammar may be sorry too: "I am sorry. I will try to do better."
        declined = _declined(text) and not _declined(sample.answer)
        right = is_right(sample, text)
        rows.append(TypedRow("within", sample.intent, question, text, declined, right))
    for key, questions in known["social"].items():
        for question in questions:
            text = answer(question)
            right = in_order([key], text)
            rows.append(TypedRow("social", key, question, text, _declined(text), right))
    return rows


def report(rows: list[TypedRow]) -> Mapping[str, Any]:
    """Return the counts by set, and by kind of what lies outside, with 95 % intervals."""
    sets = ("asked", "within", "social")
    asked, inside, social = ([row for row in rows if row.of == name] for name in sets)
    kinds = sorted({row.kind for row in asked})
    return {
        "outside_declined": _counted([r.declined for r in asked]),
        **{f"outside_{k}": _counted([r.declined for r in asked if r.kind == k]) for k in kinds},
        "within_declined_by_mistake": _counted([r.declined for r in inside]),
        "within_right": _counted([r.right for r in inside]),
        "social_right": _counted([r.right for r in social]),
    }


def table(scores: Mapping[str, Any]) -> str:
    """Return the scores as lines for people."""
    rows = [
        f"{name:28} {s['yes']:3} of {s['of']:3}  [{s['low']:.0%}, {s['high']:.0%}]"
        for name, s in scores.items()
    ]
    return "\n".join(rows)


def write(rows: list[TypedRow], folder: Path) -> None:
    """Write `typed.json` (scores) and `typed.jsonl` (a row a question) into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "typed.json").write_text(json.dumps(report(rows), indent=1) + "\n", "utf-8")
    lines = "".join(json.dumps(asdict(row)) + "\n" for row in rows)
    (folder / "typed.jsonl").write_text(lines, "utf-8")


def _declined(text: str) -> bool:
    return in_order(NOT_UNDERSTOOD, text)


def _counted(hits: list[bool]) -> dict[str, float]:
    low, high = share_interval(sum(hits), len(hits)) if hits else (0.0, 1.0)
    return {"yes": sum(hits), "of": len(hits), "low": low, "high": high}
