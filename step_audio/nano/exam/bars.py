"""The bars that nano must clear, and how a report of them is printed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from step_audio.eval.intervals import Interval


@dataclass(frozen=True, slots=True)
class Bar:
    """One requirement. `must` and `target` in the unit of the score."""

    key: str
    says: str
    must: float
    target: float
    better: Literal["higher", "lower"] = "higher"

    def met(self, score: float, level: float) -> bool:
        """Return whether the score reaches the level."""
        return score >= level if self.better == "higher" else score <= level


BARS: Final[tuple[Bar, ...]] = (
    Bar("right_natural_voice", "right as heard, unseen phrasing, natural voice", 0.70, 0.85),
    Bar("transcript_wer", "transcript WER, unseen phrasing, natural voice", 0.18, 0.08, "lower"),
    Bar("person_words", "words of a real person heard right", 0.70, 0.90),
    Bar("right_unseen_voice", "right as heard, unseen phrasing, unseen machine voice", 0.60, 0.80),
    Bar("right_seen_voice", "right as heard, unseen phrasing, seen voice in noise", 0.75, 0.90),
    Bar("right_sums", "unseen two-digit sums right as heard", 0.50, 0.80),
    Bar("right_call", "right tool and arguments", 0.80, 0.95),
    Bar("answer_wer", "answer audio against own text, WER", 0.06, 0.03, "lower"),
    Bar("open_wer", "open sentences read aloud, WER", 0.30, 0.10, "lower"),
    Bar("resynthesis_seen", "token resynthesis WER, seen voice", 0.05, 0.02, "lower"),
    Bar("resynthesis_unseen", "token resynthesis WER, unseen voices", 0.15, 0.06, "lower"),
    Bar("dnsmos", "DNSMOS of answers", 3.2, 3.6),
    Bar("first_audio_p50_ms", "first audio p50, ms", 350, 200, "lower"),
    Bar("first_audio_p95_ms", "first audio p95, ms", 800, 500, "lower"),
    Bar("rtf_p95", "real-time factor p95", 0.6, 0.4, "lower"),
    Bar("weights_mb", "weights on disk, MB", 60, 55, "lower"),
    Bar("peak_rss_mb", "peak memory, MB", 1200, 1200, "lower"),
    Bar("shuffled", "right with answers shuffled among questions", 0.12, 0.05, "lower"),
    Bar("other_word", "another word in the question changes the answer", 0.60, 0.80),
    Bar("refuses_nonsense", "silence, noise, foreign speech not understood", 0.80, 0.95),
)


OPTIONAL: Final = frozenset({"dnsmos", "person_words"})
"""Bars that need a package of their own."""

_GOOD: Final = frozenset({"pass", "target"})


@dataclass(frozen=True, slots=True)
class Score:
    """A measured value; None: it could not be measured. `ceiling`: the same measure taken on
    speech of the source voice, where that makes sense; `count`: items behind the value; `interval`:
    95 % of the true value, where it can be told."""

    value: float | None
    ceiling: float | None = None
    count: int = 0
    interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class BarReport:
    """Every score by bar key, further figures, and the hash of the examination."""

    scores: Mapping[str, Score]
    details: Mapping[str, Any]
    exam_hash: str

    def passed(self) -> bool:
        """Return whether every bar is measured and met; only the optional ones may be missing."""
        return all(
            _verdict(bar, self.scores.get(bar.key, Score(None))) in _GOOD
            or (bar.key in OPTIONAL and bar.key not in self.measured())
            for bar in BARS
        )

    def measured(self) -> frozenset[str]:
        """Return the keys of the bars that have a value."""
        return frozenset(key for key, score in self.scores.items() if score.value is not None)

    def to_json(self) -> str:
        """Return the whole report as JSON text, unmeasured values as null."""
        rows = []
        for bar in BARS:
            score = self.scores.get(bar.key, Score(None))
            rows.append({**asdict(bar), **asdict(score), "verdict": _verdict(bar, score)})
        whole = {"exam": self.exam_hash, "passed": self.passed(), "bars": rows}
        return json.dumps({**whole, "details": self.details}, indent=1)

    def to_markdown(self) -> str:
        """Return the table of bars."""
        lines = ["| bar | must | target | score | 95 % | ceiling | n | verdict |", "|---" * 8 + "|"]
        for bar in BARS:
            score = self.scores.get(bar.key, Score(None))
            cells = [bar.says, _figure(bar.must), _figure(bar.target), _figure(score.value)]
            cells += [_span(score.interval), _figure(score.ceiling), str(score.count or "-")]
            cells.append(_verdict(bar, score))
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"


def _verdict(bar: Bar, score: Score) -> str:
    if score.value is None:
        return "not measured"
    if bar.met(score.value, bar.target):
        return "target"
    return "pass" if bar.met(score.value, bar.must) else "FAIL"


def _span(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.3f}".rstrip("0").rstrip(".")
