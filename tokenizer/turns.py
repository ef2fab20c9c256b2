"""When a turn starts, pauses and ends, decided from one score a frame.

What gives the score (level, a network) is the detector's; two thresholds and the waiting times
here are the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from step_audio.core.audio import Rechunker
from step_audio.core.errors import ShapeError
from step_audio.core.types import Pcm, SpeechEvent, SpeechEventKind
from tokenizer.preprocess import check_pcm


@dataclass(frozen=True, slots=True)
class TurnTiming:
    """What the detector waits for.

    Attributes:
        start_ms: speech for this long starts a turn; shorter is a click.
        pause_ms: quiet this long after speech is a pause, which may be the end.
        silence_ms: quiet this long is the end of the turn; more than `pause_ms`.
    """

    start_ms: int = 80
    pause_ms: int = 240
    silence_ms: int = 500

    def __post_init__(self) -> None:
        if not self.start_ms > 0 or not 0 < self.pause_ms < self.silence_ms:
            raise ShapeError(f"{self}: needs start > 0 and 0 < pause < silence")

    def ending_after(self, silence_ms: int | None) -> TurnTiming:
        """Return the same with another end of the turn; a pause is at most half of that."""
        if silence_ms is None:
            return self
        return replace(self, silence_ms=silence_ms, pause_ms=min(self.pause_ms, silence_ms // 2))


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Scores above which speech begins, and goes on; the second is lower."""

    begin: float
    go_on: float


class TurnStream:
    """Stage[Pcm, SpeechEvent].

    `at_ms` of STARTED is where speech began, of PAUSED and STOPPED where it ended. After PAUSED
    comes STARTED again, or STOPPED.

    Args:
        score: of the next frame, of `frame_samples` samples; keeps the stream's own state.
        frame_samples: length of a frame.
        frame_ms: the same as time.
        thresholds: on the score.
        timing: what to wait for.
    """

    def __init__(
        self,
        score: Callable[[Pcm], float],
        frame_samples: int,
        frame_ms: int,
        thresholds: Thresholds,
        timing: TurnTiming,
    ) -> None:
        self._score, self._thresholds, self._timing = score, thresholds, timing
        self._frames, self._frame_ms = Rechunker(frame_samples), frame_ms
        self._now_ms = 0
        self._speaking = False  # between STARTED and STOPPED
        self._paused = False
        self._loud_ms = 0
        self._quiet_ms = 0

    def push(self, pcm: Pcm, /) -> Iterable[SpeechEvent]:
        """Take samples and return what was decided. Raises AudioError: not mono, not finite."""
        return [
            event for frame in self._frames.push(check_pcm(pcm)) for event in self._decide(frame)
        ]

    def flush(self) -> Iterable[SpeechEvent]:
        """Return STOPPED when the sound ends within a turn."""
        if not self._speaking:
            return ()
        self._speaking = False
        return (SpeechEvent(SpeechEventKind.STOPPED, self._now_ms - self._quiet_ms),)

    def _decide(self, frame: Pcm) -> Iterable[SpeechEvent]:
        self._now_ms += self._frame_ms
        going_on = self._speaking and not self._paused
        needed = self._thresholds.go_on if going_on else self._thresholds.begin
        if self._score(frame) > needed:
            self._loud_ms += self._frame_ms
            return self._on_loud()
        self._quiet_ms += self._loud_ms + self._frame_ms if self._paused else self._frame_ms
        self._loud_ms = 0
        return self._on_quiet()

    def _on_loud(self) -> Iterable[SpeechEvent]:
        if self._speaking and not self._paused:
            self._quiet_ms = 0
        elif self._loud_ms >= self._timing.start_ms:
            self._speaking, self._paused, self._quiet_ms = True, False, 0
            yield SpeechEvent(SpeechEventKind.STARTED, self._now_ms - self._loud_ms)

    def _on_quiet(self) -> Iterable[SpeechEvent]:
        ended_ms = self._now_ms - self._quiet_ms
        if self._speaking and not self._paused and self._quiet_ms >= self._timing.pause_ms:
            self._paused = True
            yield SpeechEvent(SpeechEventKind.PAUSED, ended_ms)
        if self._speaking and self._quiet_ms >= self._timing.silence_ms:
            self._speaking = self._paused = False
            yield SpeechEvent(SpeechEventKind.STOPPED, ended_ms)
