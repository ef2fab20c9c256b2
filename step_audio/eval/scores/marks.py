"""Marks and figures: what one answer adds to a figure, and figures with their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

from step_audio.eval.intervals import Interval, rate_interval, share_interval

Of = Literal["text", "sound", "both"]
"""What was judged: the answer's text, what a recogniser hears of its sound, or the two against each
other."""


@dataclass(frozen=True, slots=True)
class FigureKind:
    """A figure that sets report.

    Attributes:
        title: in tables, with its unit.
        scale: by which the mean of the marks is multiplied.
        higher_is_better: whether.
    """

    title: str
    scale: float = 100.0
    higher_is_better: bool = True


FIGURES: Final[dict[str, FigureKind]] = {
    "contains": FigureKind("right answer contained %"),
    "correct": FigureKind("correct, judged %"),
    "chosen": FigureKind("right choice %"),
    "closed": FigureKind("right closed answer %"),
    "refused": FigureKind("refused %"),
    "yes": FigureKind("yes, judged %"),
    "rating": FigureKind("rating 1 to 5", 1.0),
    "rating10": FigureKind("rating 1 to 10, times 10", 10.0),
    "reasoning": FigureKind("reasoning 0 to 5, times 20", 20.0),
    "uro": FigureKind("URO-Bench score 0 to 100", 1.0),
    "factuality": FigureKind("factuality %"),
    "relevance": FigureKind("relevance %"),
    "chat": FigureKind("chat score 1 to 5", 1.0),
    "trigger_precision": FigureKind("trigger precision %"),
    "trigger_recall": FigureKind("trigger recall %"),
    "call_type": FigureKind("right tool of calls %"),
    "call_arguments": FigureKind("equal arguments of right calls %"),
    "call_arguments_judged": FigureKind("right arguments of right calls, judged %"),
    "wer": FigureKind("word errors %", higher_is_better=False),
    "cer": FigureKind("character errors %", higher_is_better=False),
    "consistency": FigureKind("errors of the sound against its text %", higher_is_better=False),
    "similarity": FigureKind("speaker similarity", 1.0),
    "dnsmos": FigureKind("DNSMOS 1 to 5", 1.0),
    "cut_off": FigureKind("spoken into before the end %", higher_is_better=False),
    "ended_early": FigureKind("turn ended before the end %", higher_is_better=False),
    "answered": FigureKind("turns answered %"),
    "obeyed": FigureKind("interruptions obeyed %"),
    "ridden_out": FigureKind("backchannels ridden out %"),
    "after_silence": FigureKind("answered after silence %"),
    "unprompted": FigureKind("spoke unprompted in silence %", higher_is_better=False),
    "end_of_turn_ms": FigureKind("end of speech to end of turn, ms", 1.0, False),
    "response_ms": FigureKind("end of speech to first sound, ms", 1.0, False),
    "interruption_ms": FigureKind("interruption to silence, ms", 1.0, False),
    "resume_ms": FigureKind("end of backchannel to going on, ms", 1.0, False),
    "after_silence_ms": FigureKind("after silence: end of speech to sound, ms", 1.0, False),
}


_RATES: Final = frozenset({"wer", "cer", "consistency"})


@dataclass(frozen=True, slots=True)
class Mark:
    """What one item adds to one figure.

    Attributes:
        figure: key of `FIGURES`.
        of: what was judged.
        got, out_of: added to numerator and denominator; a share has 0 or 1 out of 1.
        invalid: the judge said nothing usable; counted apart.
    """

    figure: str
    of: Of
    got: float = 0.0
    out_of: float = 1.0
    invalid: bool = False


@dataclass(frozen=True, slots=True)
class FigureRow:
    """One figure of one category ("all" for the set), with its 95 % interval."""

    figure: str
    of: Of
    category: str
    value: float | None
    low: float | None
    high: float | None
    count: int
    invalid: int

    def row(self) -> dict[str, Any]:
        """Return it as a row of the report."""
        return asdict(self)


def figure_rows(
    marks: Mapping[str, Iterable[Mark]], categories: Mapping[str, str]
) -> list[FigureRow]:
    """Return all figures, first of the whole set, then of each category.

    Args:
        marks: of each item.
        categories: of each item; "" has no rows of its own.
    """
    grouped: dict[tuple[str, str, Of], list[Mark]] = {}
    for item, several in marks.items():
        for mark in several:
            for category in dict.fromkeys(("all", categories.get(item, "") or "all")):
                grouped.setdefault((category, mark.figure, mark.of), []).append(mark)
    rows = [_figure(category, group) for (category, _, _), group in grouped.items()]
    order, views = list(FIGURES), get_args(Of)
    return sorted(
        rows,
        key=lambda r: (r.category != "all", r.category, order.index(r.figure), views.index(r.of)),
    )


def _figure(category: str, marks: Sequence[Mark]) -> FigureRow:
    first = marks[0]
    valid = [mark for mark in marks if not mark.invalid]
    total = sum(mark.out_of for mark in valid)
    invalid = len(marks) - len(valid)
    if not total:
        return FigureRow(first.figure, first.of, category, None, None, None, len(valid), invalid)
    scale = FIGURES[first.figure].scale
    low, high = _interval(valid)
    value = sum(mark.got for mark in valid) / total
    value, low, high = (round(scale * figure, 4) for figure in (value, low, high))
    return FigureRow(first.figure, first.of, category, value, low, high, len(valid), invalid)


def _interval(marks: Sequence[Mark]) -> Interval:
    """Wilson's of shares, else a bootstrap over items."""
    rate = marks[0].figure in _RATES
    if not rate and all(mark.out_of == 1 and mark.got in (0, 1) for mark in marks):
        return share_interval(sum(mark.got == 1 for mark in marks), len(marks))
    return rate_interval([mark.got for mark in marks], [mark.out_of for mark in marks])
