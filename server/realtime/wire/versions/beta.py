"""The beta shape of 2024: flat session, other names, one event for a new item."""

from __future__ import annotations

from typing import Any, Final

from server.realtime.wire.versions.version import Event

_KINDS: Final = {
    "response.output_audio": "response.audio",
    "response.output_audio_transcript": "response.audio_transcript",
    "response.output_text": "response.text",
}
TRANSCRIPTION: Final = "transcription_session"
"""Its events are named apart from those of a conversation."""
_CONTENT: Final = {"output_audio": "audio", "output_text": "text"}
_FORMATS: Final = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
_FLAT_FORMATS: Final = {there: here for here, there in _FORMATS.items()}
_INPUT: Final = {  # flat key -> key of audio.input
    "input_audio_transcription": "transcription",
    "input_audio_noise_reduction": "noise_reduction",
    "turn_detection": "turn_detection",
}
_OUTPUT: Final = ("voice", "speed")
_PARAMS: Final = (
    ("session.audio.input.format", "session.input_audio_format"),
    ("session.audio.output.format", "session.output_audio_format"),
    ("session.audio.input.transcription", "session.input_audio_transcription"),
    ("session.audio.input.noise_reduction", "session.input_audio_noise_reduction"),
    ("session.audio.input.", "session."),
    ("session.audio.output.", "session."),
    ("session.output_modalities", "session.modalities"),
    ("session.max_output_tokens", "session.max_response_output_tokens"),
    ("response.audio.output.", "response."),
    ("response.output_modalities", "response.modalities"),
)


class Beta:
    """Beta on the wire, GA inside."""

    stateless = False

    def inward(self, event: Event) -> Event:
        """Return a client's event as GA."""
        if event.get("type") == f"{TRANSCRIPTION}.update" and isinstance(
            event.get("session"), dict
        ):
            session = {**nested(event["session"]), "type": "transcription"}
            return {**event, "type": "session.update", "session": session}
        for name in ("session", "response"):
            settings = event.get(name)
            if isinstance(settings, dict) and event.get("type") in _SETTINGS[name]:
                return {**event, name: nested(settings)}
        return event

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
        if kind == "error":
            out["error"] = {**out["error"], "param": param(out["error"]["param"])}
        return out


_SETTINGS: Final = {"session": ("session.update",), "response": ("response.create",)}


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Return flat settings of a session or a response as GA's; keys of GA stay."""
    known = {"modalities", "input_audio_format", "output_audio_format", *_INPUT, *_OUTPUT}
    known |= {"max_response_output_tokens"}
    out = {key: value for key, value in flat.items() if key not in known}
    if "modalities" in flat:
        out["output_modalities"] = _modality(flat["modalities"])
    if "max_response_output_tokens" in flat:
        out["max_output_tokens"] = flat["max_response_output_tokens"]
    hear = {there: flat[here] for here, there in _INPUT.items() if here in flat}
    if "turn_detection" in hear:
        hear["turn_detection"] = _detection(hear["turn_detection"])
    speak = {key: flat[key] for key in _OUTPUT if flat.get(key) is not None}
    for side, key in ((hear, "input_audio_format"), (speak, "output_audio_format")):
        if flat.get(key) is not None:
            side["format"] = _format(flat[key])
    audio = out.get("audio", {})
    sides = {name: side for name, side in (("input", hear), ("output", speak)) if side}
    if sides and isinstance(audio, dict):
        out["audio"] = {**audio, **sides}
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


def param(name: str | None) -> str | None:
    """Return where in the client's own event an error is."""
    for ours, theirs in _PARAMS:
        if name is not None and name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def _modality(given: Any) -> Any:
    # ["text", "audio"] means speech with its transcript, which is what "audio" is in GA.
    if isinstance(given, list) and "audio" in given:
        return ["audio"] if set(map(str, given)) <= {"audio", "text"} else given
    return given


def _modalities(given: list[str]) -> list[str]:
    return ["text"] if given == ["text"] else ["text", "audio"]


def _format(given: Any) -> Any:
    if isinstance(given, str) and given in _FORMATS:
        return {"type": _FORMATS[given]}
    return {"type": given}


def _detection(given: Any) -> Any:
    if not isinstance(given, dict):
        return given
    return None if given.get("type") == "none" else {"type": "server_vad", **given}
