"""Who is speaking now, by level alone: the detector without weights.

A threshold above the noise floor to begin, a lower one to go on. The floor is the lowest level of
the last seconds, so steady noise stops counting as speech and words do not raise it.
Source: minimum statistics, R. Martin, IEEE Trans. SAP 9(5), 2001, without its bias correction.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from step_audio.core.ports import Stage
from step_audio.core.types import Pcm, SpeechEvent
from tokenizer.preprocess import RATE_HZ
from tokenizer.turns import Thresholds, TurnStream, TurnTiming

FRAME_MS = 20

_QUIETEST_DB = -80.0
_SMOOTHING = 0.5


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

    def open(
        self, *, silence_ms: int | None = None, threshold: float | None = None
    ) -> Stage[Pcm, SpeechEvent]:
        """Return a stream of its own state; a `threshold` of .5 means the levels as they are."""
        levels = self._levels
        scale = 1.0 if threshold is None else 0.5 + threshold
        return TurnStream(
            _LevelOverFloor(levels).score,
            self._rate_hz * FRAME_MS // 1000,
            FRAME_MS,
            Thresholds(begin=levels.begin_over_db * scale, go_on=levels.go_on_over_db * scale),
            self._timing.ending_after(silence_ms),
        )


class _LevelOverFloor:
    """Score of one stream's frames: dB above the noise floor; -inf for what is quiet anyway."""

    def __init__(self, levels: TurnLevels) -> None:
        memory = max(1, levels.memory_ms // FRAME_MS)
        self._history = deque([levels.first_floor_db] * memory, maxlen=memory)
        self._level_db = levels.first_floor_db
        self._quiet_db = levels.quiet_db

    def score(self, frame: Pcm) -> float:
        power_db = 10.0 * np.log10(float(np.mean(frame.astype(np.float64) ** 2)) + 1e-12)
        level_db = max(_QUIETEST_DB, power_db)
        self._level_db += _SMOOTHING * (level_db - self._level_db)
        self._history.append(self._level_db)
        if self._level_db <= self._quiet_db:
            return -np.inf
        return self._level_db - min(self._history)
