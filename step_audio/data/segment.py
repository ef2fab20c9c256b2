"""Recordings into utterances: cut where somebody pauses, with text when somebody writes it down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from step_audio.core.audio import read_audio, resample
from step_audio.core.json_lines import RowWriter
from step_audio.core.ports import TurnDetector
from step_audio.core.types import Pcm, SpeechEventKind
from step_audio.data.manifest import Utterance, content_id, read_utterances, sound_hash, store

MARGIN_MS: Final = 120
"""Kept before and after the speech of a segment."""

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


def segment(
    root: Path,
    recordings: Sequence[Path],
    detector: TurnDetector,
    *,
    speaker: str,
    licence: str,
    language: str = "en",
    transcribe: Callable[[Pcm, int], str] | None = None,
    cuts: Cuts | None = None,
    longest_recording_s: float = 4 * 3600.0,
) -> int:
    """Add the segments of recordings to a data set; return how many are new.

    Args:
        recordings: sound files. One with a `.txt` beside it is a single utterance of that text.
        detector: hears where somebody speaks.
        speaker: name under which the voice is kept.
        licence: of the recordings; goes into the provenance of every segment.
        transcribe: writes down what is said; without it segments have no text.

    Raises:
        AudioError: a file cannot be read.
    """
    known = {utterance.id for utterance in read_utterances(root)}
    added = 0
    with RowWriter(root / "utterances.jsonl") as rows:
        for path in recordings:
            pcm, rate_hz = read_audio(path, longest_recording_s)
            whole = sound_hash(pcm)
            text = path.with_suffix(".txt")
            spans: list[Span] = [(0, len(pcm) * 1000 // rate_hz)]
            if not text.is_file():
                spans = plan_cuts(speech_spans(detector, pcm, rate_hz), cuts or Cuts())
            for start, end in spans:
                name = content_id(whole, start, end)
                if name in known:
                    continue
                first = max(0, start - MARGIN_MS) * rate_hz // 1000
                part = pcm[first : (end + MARGIN_MS) * rate_hz // 1000]
                words, by = "", "nobody"
                if text.is_file():
                    words, by = text.read_text(encoding="utf-8").strip(), "transcript"
                elif transcribe is not None:
                    words, by = transcribe(part, rate_hz), "recogniser"
                source = {
                    "recording": path.name,
                    "recording_sha256": whole,
                    "span_ms": [start, end],
                    "text": {"by": by},
                    "licence": licence,
                }
                utterance = Utterance(name, words, "", "", 0.0, speaker, language, source=source)
                rows.add(store(root, utterance, part, rate_hz).row())
                known.add(name)
                added += 1
    return added
