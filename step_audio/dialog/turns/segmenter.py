"""A long recording -> stretches of speech short enough for the model, by the turn detector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from step_audio.core.ports import TurnDetector
from step_audio.core.resampling import StreamResampler
from step_audio.core.types import Pcm, SpeechEvent, SpeechEventKind

_PAD_S = 0.2
"""Kept around speech: a detector is sure a little late, and soft ends matter."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a recording, in seconds from its start."""

    start_s: float
    end_s: float

    def cut(self, pcm: Pcm, rate_hz: int) -> Pcm:
        """Return its samples."""
        return pcm[int(self.start_s * rate_hz) : int(self.end_s * rate_hz)]


class Segmenter:
    """Finds the segments of one recording, pushed piece by piece. Synchronous.

    Args:
        detector: hears where speech is; None takes everything for speech.
        rate_hz: of the samples pushed.
        max_s: longest segment; longer speech is cut into equal parts.
    """

    def __init__(self, detector: TurnDetector | None, rate_hz: int, max_s: float) -> None:
        self._rate_hz, self._max_s = rate_hz, max_s
        self._samples = 0
        self._speech: list[tuple[float, float]] = []
        self._began_s: float | None = None
        self._detector = detector.open() if detector else None
        self._resampler = StreamResampler(rate_hz, detector.sample_rate_hz) if detector else None

    def push(self, pcm: Pcm) -> None:
        """Take samples, (T,)."""
        self._samples += len(pcm)
        if self._resampler is not None:
            for chunk in self._resampler.push(pcm):
                self._hear(chunk)

    def finish(self) -> list[Segment]:
        """Return the segments, in order, none overlapping another; [] for silence."""
        total_s = self._samples / self._rate_hz
        if self._resampler is None or self._detector is None:
            self._speech = [(0.0, total_s)]
        else:
            for chunk in self._resampler.flush():
                self._hear(chunk)
            self._note(list(self._detector.flush()))
            if self._began_s is not None:
                self._speech.append((self._began_s, total_s))
        return [part for stretch in self._padded(total_s) for part in self._parts(*stretch)]

    def _hear(self, chunk: Pcm) -> None:
        assert self._detector is not None
        self._note(list(self._detector.push(chunk)))

    def _note(self, events: list[SpeechEvent]) -> None:
        for event in events:
            if event.kind is SpeechEventKind.STARTED and self._began_s is None:
                self._began_s = event.at_ms / 1000
            elif event.kind is SpeechEventKind.STOPPED and self._began_s is not None:
                self._speech.append((self._began_s, event.at_ms / 1000))
                self._began_s = None

    def _padded(self, total_s: float) -> Iterator[tuple[float, float]]:
        """Yield the stretches with a little around them, as far as the neighbours leave room."""
        last_s = 0.0
        for at, (start_s, end_s) in enumerate(self._speech):
            following = self._speech[at + 1][0] if at + 1 < len(self._speech) else total_s + _PAD_S
            until_s = min(end_s + _PAD_S, (end_s + following) / 2, total_s)
            yield max(last_s, start_s - _PAD_S), until_s
            last_s = until_s

    def _parts(self, start_s: float, end_s: float) -> Iterator[Segment]:
        parts = max(1, -int(-(end_s - start_s) // self._max_s))
        length_s = (end_s - start_s) / parts
        for part in range(parts):
            yield Segment(start_s + part * length_s, start_s + (part + 1) * length_s)
