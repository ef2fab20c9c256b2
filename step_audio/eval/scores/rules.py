"""Which figures an item's answer is marked by: by a program, by judges, by both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from step_audio.core.types import ToolCall
from step_audio.eval.examinee import same_call
from step_audio.eval.scores.answers import chosen_letter, closed_answer, contains, refuses
from step_audio.eval.scores.marks import Mark, Of
from step_audio.eval.scores.normalisers import ERROR_RULES, is_chinese
from step_audio.eval.sets.items import Item


@dataclass(frozen=True, slots=True)
class Said:
    """One answer as it is marked: its words (of its text or of its sound) and its calls."""

    words: str
    calls: tuple[ToolCall, ...] = ()


Marking = Callable[[Item, Said, Of], Iterator[Mark]]


@dataclass(frozen=True, slots=True)
class ScoringRule:
    """How answers of one kind of item are marked.

    Attributes:
        mark: by a program; None for none.
        judges: names of `judges.SHAPES`.
        listened: whether the sound of the answer is marked as well as its text.
        unscored: why nothing marks such items, "" where something does.
    """

    mark: Marking | None = None
    judges: tuple[str, ...] = ()
    listened: bool = True
    unscored: str = ""


def _share(figure: str, right: Callable[[Item, str], bool]) -> Marking:
    def mark(item: Item, said: Said, of: Of) -> Iterator[Mark]:
        yield Mark(figure, of, float(right(item, said.words)))

    return mark


def _errors(figure: str, rule: str) -> Marking:
    def mark(item: Item, said: Said, of: Of) -> Iterator[Mark]:
        got, out_of = ERROR_RULES[rule].errors(item.reference[0], said.words)
        yield Mark(figure, of, got, out_of)

    return mark


def _calls(item: Item, said: Said, of: Of) -> Iterator[Mark]:
    """Trigger precision over answers that call, recall over those that should; then the right tool
    of the calls that were due, and its arguments."""
    wanted, called = str(item.facts["tool"]), [call.name for call in said.calls]
    if called:
        yield Mark("trigger_precision", of, float(bool(wanted)))
    if not wanted:
        return
    yield Mark("trigger_recall", of, float(bool(called)))
    if called:
        yield Mark("call_type", of, float(wanted in called))
    right = str(item.facts["arguments"])
    if wanted in called and right:
        pairs = [(call.name, call.arguments) for call in said.calls]
        yield Mark(
            "call_arguments", of, float(any(same_call((wanted, right), pair) for pair in pairs))
        )


RULES: Final[Mapping[str, ScoringRule]] = {
    "stepeval": ScoringRule(judges=("stepeval",)),
    "paralinguistic": ScoringRule(judges=("paralinguistic",)),
    "toolcall": ScoringRule(_calls, ("arguments",), listened=False),
    "correct": ScoringRule(_share("contains", lambda i, a: contains(i.reference, a)), ("correct",)),
    "alias": ScoringRule(_share("contains", lambda i, a: contains(i.reference, a)), ("alias",)),
    "reasoning": ScoringRule(judges=("reasoning",)),
    "rating10": ScoringRule(judges=("rating10",)),
    "open5": ScoringRule(judges=("open5",)),
    "yesno": ScoringRule(judges=("yesno",)),
    "choice": ScoringRule(
        _share("chosen", lambda i, a: chosen_letter(a) == i.reference[0].strip("() "))
    ),
    "bbh": ScoringRule(_share("closed", lambda i, a: closed_answer(i.reference[0], a))),
    "ifeval": ScoringRule(unscored="IFEval's checks of instructions are not built in"),
    "refusal": ScoringRule(_share("refused", lambda i, a: refuses(a))),
    "closed": ScoringRule(_share("closed", lambda i, a: closed_answer(i.reference[0], a))),
    "uro_open": ScoringRule(judges=("uro_open",)),
    "uro_answer": ScoringRule(judges=("uro_answer",)),
    "wer_en": ScoringRule(_errors("wer", "wer_en"), listened=False),
    "cer_zh": ScoringRule(_errors("cer", "cer_zh"), listened=False),
    "seed_en": ScoringRule(_errors("wer", "seed_en")),
    "seed_zh": ScoringRule(_errors("cer", "seed_zh")),
}


def due_call(item: Item, said: Said) -> str:
    """Return the arguments of the call that was due, where those that are right are known; ""
    where nothing is to be compared."""
    if not item.facts.get("arguments"):
        return ""
    return next((call.arguments for call in said.calls if call.name == item.facts["tool"]), "")


def consistency(text: str, heard: str) -> Mark:
    """Return by how much the sound says something else than the text: URO-Bench's ASR-WER."""
    rule = ERROR_RULES["uro_zh" if is_chinese(text) else "uro_en"]
    got, out_of = rule.errors(text, heard)
    return Mark("consistency", "both", got, out_of)
