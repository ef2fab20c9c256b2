"""Who is speaking now, by level alone: speech started, paused, stopped.

A threshold above the noise floor to begin, a lower one to go on. The floor is the lowest level of
the last seconds, so steady noise stops counting as speech and words do not raise it.
Source: minimum statistics, R. Martin, IEEE Trans. SAP 9(5), 2001, without its bias correction.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from step_audio.core.audio import Rechunker
from step_audio.core.errors import ShapeError
from step_audio.core.ports import Stage
from step_audio.core.types import Pcm, SpeechEvent, SpeechEventKind
from tokenizer.preprocess import RATE_HZ, check_pcm

FRAME_MS = 20

_QUIETEST_DB = -80.0
_SMOOTHING = 0.5


@dataclass(frozen=True, slots=True)
class TurnTiming:
    """What the detector waits for.

    Attributes:
        start_ms: loud this long is speech; shorter is a click.
        pause_ms: quiet this long after speech is a pause, which may be the end.
        silence_ms: quiet this long is the end of the turn; more than `pause_ms`.
    """

    start_ms: int = 80
    pause_ms: int = 240
    silence_ms: int = 500

    def __post_init__(self) -> None:
        if not self.start_ms > 0 or not 0 < self.pause_ms < self.silence_ms:
            raise ShapeError(f"{self}: needs start > 0 and 0 < pause < silence")


@dataclass(frozen=True, slots=True)
class TurnLevels:
    """Levels in dB; those of full scale are negative.

    Attributes:
        begin_over_db, go_on_over_db: how far above the floor speech begins, and goes on.
        quiet_db: below this nothing is speech.
        first_floor_db: the floor assumed before there is a history, so that speech from the first
            sample on is heard.
        memory_ms: how far back the floor looks.
    """

    begin_over_db: float = 12.0
    go_on_over_db: float = 7.0
    quiet_db: float = -48.0
    first_floor_db: float = -55.0
    memory_ms: int = 3000


class EnergyTurnDetector:
    """A `TurnDetector` without weights. Shared and immutable; `open` starts a stream."""

    def __init__(
        self,
        timing: TurnTiming | None = None,
        levels: TurnLevels | None = None,
        sample_rate_hz: int = RATE_HZ,
    ) -> None:
        self._timing, self._levels = timing or TurnTiming(), levels or TurnLevels()
        self._rate_hz = sample_rate_hz

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the sound it takes."""
        return self._rate_hz

    def open(self) -> Stage[Pcm, SpeechEvent]:
        """Return a stream of its own state."""
        return _TurnStream(self._timing, self._levels, self._rate_hz)


class _TurnStream:
    """Stage[Pcm, SpeechEvent].

    `at_ms` of STARTED is where speech began, of PAUSED and STOPPED where it ended. After PAUSED
    comes STARTED again, or STOPPED.
    """

    def __init__(self, timing: TurnTiming, levels: TurnLevels, rate_hz: int) -> None:
        self._timing, self._levels = timing, levels
        self._frames = Rechunker(rate_hz * FRAME_MS // 1000)
        memory = max(1, levels.memory_ms // FRAME_MS)
        self._history = deque([levels.first_floor_db] * memory, maxlen=memory)
        self._level_db = levels.first_floor_db
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
        self._now_ms += FRAME_MS
        if self._is_loud(frame):
            self._loud_ms += FRAME_MS
            return self._on_loud()
        self._quiet_ms += self._loud_ms + FRAME_MS if self._paused else FRAME_MS
        self._loud_ms = 0
        return self._on_quiet()

    def _is_loud(self, frame: Pcm) -> bool:
        power_db = 10.0 * np.log10(float(np.mean(frame.astype(np.float64) ** 2)) + 1e-12)
        level_db = max(_QUIETEST_DB, power_db)
        self._level_db += _SMOOTHING * (level_db - self._level_db)
        self._history.append(self._level_db)
        going_on = self._speaking and not self._paused
        levels = self._levels
        over_db = levels.go_on_over_db if going_on else levels.begin_over_db
        return self._level_db > max(min(self._history) + over_db, levels.quiet_db)

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
