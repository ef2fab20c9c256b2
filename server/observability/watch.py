"""What may look on at one session: every message that enters and every event that leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Event = Mapping[str, Any]


class Watch(Protocol):
    """Looks on; never changes, never raises, never waits. Times are of a steady clock."""

    def received(self, text: str, now_s: float) -> None:
        """A client's message, as it came."""

    def sent(self, event: Event, now_s: float) -> None:
        """An event on its way out, in the shape that the client gets."""

    def ended(self, now_s: float) -> None:
        """The session is over."""


class Watches:
    """Several watches as one."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        self._watches = tuple(watches)

    def received(self, text: str, now_s: float) -> None:
        """Tell all."""
        for watch in self._watches:
            watch.received(text, now_s)

    def sent(self, event: Event, now_s: float) -> None:
        """Tell all."""
        for watch in self._watches:
            watch.sent(event, now_s)

    def ended(self, now_s: float) -> None:
        """Tell all."""
        for watch in self._watches:
            watch.ended(now_s)
