"""The beta shape of 2024: flat session, other names, one event for a new item."""

from __future__ import annotations

from typing import Any, Final

from server.realtime.wire.versions.settings_keys import FORMATS, as_ga
from server.realtime.wire.versions.version import Event

_KINDS: Final = {
    "response.output_audio": "response.audio",
    "response.output_audio_transcript": "response.audio_transcript",
    "response.output_text": "response.text",
}
TRANSCRIPTION: Final = "transcription_session"
"""Its events are named apart from those of a conversation."""
_CONTENT: Final = {"output_audio": "audio", "output_text": "text"}
_FLAT_FORMATS: Final = {there: here for here, there in FORMATS.items()}


class Beta:
    """Beta on the wire, GA inside."""

    stateless = False

    def inward(self, event: Event) -> Event:
        """Return a client's event as GA."""
        if event.get("type") == f"{TRANSCRIPTION}.update":
            event = as_ga({**event, "type": "session.update"})
            if isinstance(settings := event.get("session"), dict):
                event = {**event, "session": {**settings, "type": "transcription"}}
            return event
        return as_ga(event)

    def outward(self, event: Event) -> Event | None:
        """Return an event of ours as beta."""
        kind = str(event["type"])
        if kind == "conversation.item.done":
            return None
        stem, _, end = kind.rpartition(".")
        out = {**event, "type": f"{_KINDS.get(stem, stem)}.{end}" if stem else kind}
        if kind == "conversation.item.added":
            out["type"] = "conversation.item.created"
        if "item" in out:
            out["item"] = item(out["item"])
        if "session" in out:
            if out["session"]["type"] == "transcription":
                out["type"] = out["type"].replace("session.", f"{TRANSCRIPTION}.")
            out["session"] = flat_session(out["session"])
        if "response" in out:
            out["response"] = flat_response(out["response"])
        return out


def flat_session(session: dict[str, Any]) -> dict[str, Any]:
    """Return GA's session object as beta's."""
    hear, speak = session["audio"]["input"], session["audio"].get("output")
    heard = {
        "input_audio_format": _FLAT_FORMATS[hear["format"]["type"]],
        "input_audio_transcription": hear["transcription"],
        "input_audio_noise_reduction": hear["noise_reduction"],
        "turn_detection": hear["turn_detection"],
    }
    nests = ("type", "audio", "output_modalities", "max_output_tokens", "truncation", "prompt")
    out = {key: value for key, value in session.items() if key not in nests}
    if speak is None:
        return {**out, **heard}
    return {
        **out,
        **heard,
        "modalities": _modalities(session["output_modalities"]),
        "voice": speak["voice"],
        "speed": speak["speed"],
        "output_audio_format": _FLAT_FORMATS[speak["format"]["type"]],
        "max_response_output_tokens": session["max_output_tokens"],
    }


def flat_response(response: dict[str, Any]) -> dict[str, Any]:
    """Return GA's response object as beta's."""
    speak = response["audio"]["output"]
    out = {k: v for k, v in response.items() if k not in ("audio", "output_modalities")}
    return {
        **out,
        "output": [item(made) for made in response["output"]],
        "modalities": _modalities(response["output_modalities"]),
        "voice": speak["voice"],
        "output_audio_format": _FLAT_FORMATS[speak["format"]["type"]],
    }


def item(made: dict[str, Any]) -> dict[str, Any]:
    """Return an item with beta's content types."""
    if "content" not in made:
        return made
    parts = [{**p, "type": _CONTENT.get(p["type"], p["type"])} for p in made["content"]]
    return {**made, "content": parts}


def _modalities(given: list[str]) -> list[str]:
    return ["text"] if given == ["text"] else ["text", "audio"]
