"""A long recording -> stretches of speech short enough for the model, by the turn detector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from step_audio.core.audio import Rechunker
from step_audio.core.ports import TurnDetector
from step_audio.core.resampling import StreamResampler
from step_audio.core.types import Pcm, SpeechEvent, SpeechEventKind

_FRAME_S = 0.01
_PAUSE_S = 0.16
"""A cut lies in the middle of so much quiet; within a word there is less."""
_EARLIEST = 0.6
"""A cut is looked for in the last 40 % of what a segment may hold."""
_SHORTEST_S = 1.0
"""No less is left behind a cut."""
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
        max_s: longest segment; longer speech is cut where it is quietest shortly before that.
    """

    def __init__(self, detector: TurnDetector | None, rate_hz: int, max_s: float) -> None:
        self._rate_hz, self._max_s = rate_hz, max_s
        self._samples = 0
        self._levels = _Levels(rate_hz)
        self._speech: list[tuple[float, float]] = []
        self._began_s: float | None = None
        self._detector = detector.open() if detector else None
        self._resampler = StreamResampler(rate_hz, detector.sample_rate_hz) if detector else None

    def push(self, pcm: Pcm) -> None:
        """Take samples, (T,)."""
        self._samples += len(pcm)
        self._levels.push(pcm)
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
        while end_s - start_s > self._max_s:
            latest_s = min(start_s + self._max_s, end_s - min(_SHORTEST_S, self._max_s / 2))
            cut_s = self._levels.quietest(start_s + _EARLIEST * self._max_s, latest_s)
            yield Segment(start_s, cut_s)
            start_s = cut_s
        yield Segment(start_s, end_s)


class _Levels:
    """How loud a recording is, every 10 ms.

    Levels are those of the differences of samples: hum and offsets, which do not pause with the
    speaker, weigh little.
    """

    def __init__(self, rate_hz: int) -> None:
        self._frame = max(1, int(rate_hz * _FRAME_S))
        self._frame_s = self._frame / rate_hz
        self._frames = Rechunker(self._frame)
        self._last = np.float32(0)
        self._power: list[float] = []

    def push(self, pcm: Pcm) -> None:
        """Take samples, (T,)."""
        if not len(pcm):
            return
        changes = np.diff(pcm, prepend=self._last)
        self._last = pcm[-1]
        self._power += [float(np.mean(frame * frame)) for frame in self._frames.push(changes)]

    def quietest(self, since_s: float, until_s: float) -> float:
        """Return the middle of the quietest pause between two times; of equal ones the last."""
        first, last = int(since_s / self._frame_s), int(until_s / self._frame_s)
        width = round(_PAUSE_S / self._frame_s)
        power = np.array(self._power[first:last])
        if len(power) <= width:
            return until_s
        sums = np.convolve(power, np.hanning(width + 2)[1:-1], mode="valid")
        # What is about as quiet as the quietest is equal to it.
        best = int(np.flatnonzero(sums <= sums.min() * 1.1 + 1e-12)[-1])
        return (first + best + width / 2) * self._frame_s
