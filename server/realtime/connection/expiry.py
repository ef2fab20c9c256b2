"""How long a session may last: idle, and in all, with a warning before. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, Literal

WARNING: Final = "session.expiring"
EXPIRED: Final = "session_expired"

Reason = Literal["idle", "duration"]


class Due(Enum):
    """What it is time for."""

    WARNING = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class ExpiryLimits:
    """Seconds.

    Attributes:
        idle_s: without speech, answer, tool call or message.
        session_s: in all.
        warning_s: so long before the end the client is told, at most half of the limit.
        grace_s: an answer under way may go on so long beyond `session_s`.
    """

    idle_s: float
    session_s: float
    warning_s: float = 30.0
    grace_s: float = 0.0


class Expiry:
    """One session's time."""

    def __init__(self, limits: ExpiryLimits, now_s: float) -> None:
        self._limits = limits
        self._began_s = self._active_s = now_s
        self._warned: dict[Reason, bool] = {"idle": False, "duration": False}

    def touch(self, now_s: float) -> None:
        """Note that something happens."""
        self._active_s = now_s
        self._warned["idle"] = False

    def look(self, now_s: float, *, response_task: bool) -> tuple[Due, Reason, float] | None:
        """Return what it is time for, why, and how many seconds are left; None: nothing.

        Each warning comes once; an idle one again after the session was active.
        """
        limits = self._limits
        left: dict[Reason, float] = {
            "idle": self._active_s + limits.idle_s - now_s,
            "duration": self._began_s + limits.session_s - now_s,
        }
        for reason, left_s in left.items():
            spared = reason == "duration" and response_task and left_s > -limits.grace_s
            if left_s <= 0 and not spared:
                return Due.END, reason, 0.0
        whole: dict[Reason, float] = {"idle": limits.idle_s, "duration": limits.session_s}
        for reason, left_s in left.items():
            near = left_s <= min(limits.warning_s, whole[reason] / 2)
            if near and not self._warned[reason]:
                self._warned[reason] = True
                return Due.WARNING, reason, max(0.0, left_s)
        return None

    def look_again_s(self) -> float:
        """Return how often to look: a tenth of the shortest time, between 10 ms and a second."""
        limits = self._limits
        shortest = min(limits.idle_s, limits.session_s, limits.warning_s)
        return max(0.01, min(1.0, shortest / 10))


def warning_event(reason: Reason, left_s: float) -> dict[str, Any]:
    """Return the warning: an extension, for the clients that ask for it."""
    return {"type": WARNING, "reason": reason, "expires_in_s": round(left_s, 1)}


def expired_event(reason: Reason, limits: ExpiryLimits) -> dict[str, Any]:
    """Return the error before the close."""
    said = (
        f"the session was idle for {limits.idle_s:g} s"
        if reason == "idle"
        else f"the session reached its longest duration, {limits.session_s:g} s"
    )
    error = {"type": "invalid_request_error", "code": EXPIRED, "message": f"{said}; connect again"}
    return {"type": "error", "error": {**error, "param": None, "event_id": None}}
