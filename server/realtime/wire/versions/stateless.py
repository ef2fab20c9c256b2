"""StepFun's dialect of /v1/realtime/stateless: each response brings its own history."""

from __future__ import annotations

from typing import Any, Final

from server.realtime.wire.versions.beta import Beta
from server.realtime.wire.versions.version import Event

_TEXT: Final = "response.text.delta"
_RAW_TEXT: Final = "response.raw_text.delta"


class Stateless(Beta):
    """StepFun's command line on the wire, GA inside."""

    stateless = True

    def inward(self, event: Event) -> Event:
        """Return a client's event as GA; the client says where a turn ends, whatever it sends."""
        shaped = super().inward(event)
        settings: Any = shaped.get("session")
        audio = settings.get("audio") if isinstance(settings, dict) else None
        if not isinstance(audio, dict) or not isinstance(audio.get("input"), dict):
            return shaped
        kept = {key: value for key, value in audio["input"].items() if key != "turn_detection"}
        return {**shaped, "session": {**settings, "audio": {**audio, "input": kept}}}

    def outward(self, event: Event) -> Event | None:
        """Return an event of ours in the dialect, which has no greeting."""
        out = None if event["type"] == "session.created" else super().outward(event)
        if out is not None and out["type"] == _TEXT:
            return {**out, "type": _RAW_TEXT}
        return out
