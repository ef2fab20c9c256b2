"""Where somebody speaks in a sound, and where to cut it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from step_audio.core.ports import TurnDetector
from step_audio.core.resampling import resample
from step_audio.core.types import Pcm, SpeechEventKind

Span = tuple[int, int]
"""Start and end in milliseconds."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """How long a segment may be, and how short a pause does not separate two."""

    shortest_ms: int = 600
    longest_ms: int = 15_000
    join_ms: int = 400


def speech_spans(detector: TurnDetector, pcm: Pcm, rate_hz: int) -> list[Span]:
    """Return where somebody speaks, pauses left out."""
    stage = detector.open()
    sound = resample(pcm, rate_hz, detector.sample_rate_hz)
    started: int | None = None
    spans: list[Span] = []
    for event in [*stage.push(sound), *stage.flush()]:
        if event.kind is SpeechEventKind.STARTED:
            started = event.at_ms
        elif started is not None:
            spans.append((started, event.at_ms))
            started = None
    return [(start, end) for start, end in spans if end > start]


def plan_cuts(spans: Sequence[Span], cuts: Cuts) -> list[Span]:
    """Return the segments: spans joined over short pauses while they stay short enough.

    A single span that is too long is cut evenly; one that is too short is left out.
    """
    joined: list[Span] = []
    for start, end in spans:
        if (
            joined
            and start - joined[-1][1] <= cuts.join_ms
            and end - joined[-1][0] <= cuts.longest_ms
        ):
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    parts: list[Span] = []
    for start, end in joined:
        count = -(-(end - start) // cuts.longest_ms)
        edges = np.linspace(start, end, count + 1).astype(int).tolist()
        parts += pairwise(edges)
    return [(start, end) for start, end in parts if end - start >= cuts.shortest_ms]
