"""What a dialect is, the GA one, and how that of an unmarked connection is told."""

from __future__ import annotations

from typing import Any, Final, Protocol

from server.realtime.wire.versions.settings_keys import as_ga

Event = dict[str, Any]

_FLAT: Final = frozenset({"modalities", "input_audio_format", "voice", "turn_detection"})
_NESTED: Final = frozenset({"type", "audio", "output_modalities"})


class ProtocolVersion(Protocol):
    """A dialect. Both methods leave their argument alone."""

    @property
    def stateless(self) -> bool:
        """Whether each response brings the conversation along."""

    def inward(self, event: Event) -> Event:
        """Return a client's event as GA; what is no event of the dialect stays as it is."""

    def outward(self, event: Event) -> Event | None:
        """Return an event of ours in the dialect, None for one that it does not have."""


class Ga:
    """The shape of 2025: what everything inside speaks."""

    stateless = False

    def inward(self, event: Event) -> Event:
        """Return the event, its settings under GA's keys."""
        return as_ga(event)

    def outward(self, event: Event) -> Event | None:
        """Return the event."""
        return event


def looks_flat(event: Event) -> bool:
    """Return whether a first session.update is of the beta shape, which some send unmarked."""
    session = event.get("session")
    return (
        event.get("type") == "session.update"
        and isinstance(session, dict)
        and _NESTED.isdisjoint(session)
        and not _FLAT.isdisjoint(session)
    )
