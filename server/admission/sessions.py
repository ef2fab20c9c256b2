"""How many sessions are let in: as many as the machine was seen to serve without gaps.

The profile's limit holds until answers given lately show that the machine is full: they took about
as long as their sound lasts, or playback ran dry. What a few sessions took is not multiplied up: an
answer's pace on a GPU hardly depends on how many are open. Pure: the caller's clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

MEMORY_S: Final = 60.0
CALM_S: Final = 10.0
MOST: Final = 200
SLOW_SHARE: Final = 10
"""One slow answer in so many is an accident."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer: its real-time factor, and how many sessions were open."""

    at_s: float
    rtf: float
    sessions: int


class Admission:
    """Decides on new sessions.

    Args:
        limit: never more than this.
        full_rtf: real-time factor at which the machine counts as full; sound that takes as long
            as it lasts leaves nothing for the next disturbance.
    """

    def __init__(self, limit: int, *, full_rtf: float = 0.85) -> None:
        self.limit = limit
        self._full_rtf = full_rtf
        self._seen: deque[Seen] = deque(maxlen=MOST)
        self._dry_s: float | None = None

    def answered(self, rtf: float, *, dry: bool, sessions: int, now_s: float) -> None:
        """Note an answer that was given while `sessions` were open."""
        self._seen.append(Seen(now_s, rtf, max(1, sessions)))
        if dry:
            self._dry_s = now_s

    def allowed(self, sessions: int, now_s: float) -> int:
        """Return how many sessions may be open now, at least one.

        Args:
            sessions: that are open.
        """
        if self._dry_s is not None and 0 <= now_s - self._dry_s < CALM_S:
            return max(1, min(self.limit, sessions))
        recent = [s for s in self._seen if now_s - s.at_s < MEMORY_S]
        slow = sorted(s.sessions for s in recent if s.rtf >= self._full_rtf)
        if len(slow) * SLOW_SHARE <= len(recent):
            return self.limit
        # One less than were open when it was too much.
        return max(1, min(self.limit, slow[len(slow) // 2] - 1))
