"""Settings under the keys of any protocol version, as GA's. Pure.

Clients mix versions: GA sessions get `input_audio_format`, beta ones get `audio`, tools come in the
form of chat completions. Whatever the version of a connection, each known key is understood.
"""

from __future__ import annotations

from typing import Any, Final

Settings = dict[str, Any]

INPUT_KEYS: Final = {  # flat key -> key of audio.input
    "input_audio_format": "format",
    "input_audio_transcription": "transcription",
    "input_audio_noise_reduction": "noise_reduction",
    "turn_detection": "turn_detection",
}
OUTPUT_KEYS: Final = {  # flat key -> key of audio.output; the first that is given holds
    "output_audio_format": "format",
    "voice": "voice",
    "speed": "speed",
    "speed_ratio": "speed",
    "volume": "volume",
}
TOP_KEYS: Final = {
    "modalities": "output_modalities",
    "max_response_output_tokens": "max_output_tokens",
}
FORMATS: Final = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
_NAMES: Final = {
    **FORMATS,
    **{name: name for name in FORMATS.values()},
    **{"pcm": "audio/pcm", "pcmu": "audio/pcmu", "pcma": "audio/pcma"},
    **{"ulaw": "audio/pcmu", "mulaw": "audio/pcmu", "alaw": "audio/pcma"},
}
"""What clients call an encoding."""
_CHOICES: Final = {"auto": "auto", "none": "none", "required": "required", "any": "required"}
_EVENTS: Final = {"session.update": "session", "response.create": "response"}


def as_ga(event: Settings) -> Settings:
    """Return a client's event with its settings under GA's keys; other events as they are."""
    name = _EVENTS.get(str(event.get("type")), "")
    settings = event.get(name)
    return {**event, name: nested(settings)} if isinstance(settings, dict) else event


def nested(settings: Settings) -> Settings:
    """Return settings of a session or a response under GA's keys.

    Flat keys join the nested ones. Where both name the same setting the nested one holds, unless it
    is null, which nobody chose.
    """
    flat = {*INPUT_KEYS, *OUTPUT_KEYS, *TOP_KEYS}
    out = {key: value for key, value in settings.items() if key not in flat}
    sides: Settings = {}
    for side, keys in (("input", INPUT_KEYS), ("output", OUTPUT_KEYS)):
        for there, here in keys.items():
            if there in settings and settings[there] is not None:
                sides.setdefault(side, {}).setdefault(here, settings[there])
        for there, here in keys.items():
            if there in settings:
                sides.setdefault(side, {}).setdefault(here, None)
    if sides:
        out = _joined({"audio": sides}, out)
    tops = {here: settings[there] for there, here in TOP_KEYS.items() if there in settings}
    out = _joined(tops, out)
    if "output_modalities" in out:
        out["output_modalities"] = _modality(out["output_modalities"])
    if isinstance(out.get("audio"), dict):
        out["audio"] = _audio(out["audio"])
    if isinstance(tools := out.get("tools"), list):
        out["tools"] = [_flat_tool(tool) for tool in tools]
    if "tool_choice" in out:
        out["tool_choice"] = _choice(out["tool_choice"])
    return out


def own_place(event: Settings, param: str | None) -> str | None:
    """Return the place in a client's own event that `param`, in GA's keys, speaks of."""
    name, _, rest = (param or "").partition(".")
    settings = event.get(name)
    if param is None or name not in _EVENTS.values() or not isinstance(settings, dict):
        return param
    parts = rest.split(".")
    for flat, ga in _flat_places():
        if parts[: len(ga)] == list(ga) and flat in settings and not _has(settings, ga):
            parts = [flat, *parts[len(ga) :]]
            if not isinstance(settings[flat], dict | list):
                parts = [flat]
            break
    place: list[str] = [name]
    here: Any = settings
    for part in parts:
        if isinstance(here, dict) and part not in here and isinstance(here.get("function"), dict):
            place.append("function")
            here = here["function"]
        place.append(part)
        here = _inside(here, part)
    return ".".join(place)


def _flat_places() -> list[tuple[str, tuple[str, ...]]]:
    out: list[tuple[str, tuple[str, ...]]] = [(flat, (top,)) for flat, top in TOP_KEYS.items()]
    for side, keys in (("input", INPUT_KEYS), ("output", OUTPUT_KEYS)):
        out += [(flat, ("audio", side, key)) for flat, key in keys.items()]
    return out


def _has(settings: Any, place: tuple[str, ...]) -> bool:
    """Return whether something other than null stands at a place."""
    for part in place:
        settings = _inside(settings, part)
    return settings is not None


def _inside(here: Any, part: str) -> Any:
    if isinstance(here, dict):
        return here.get(part)
    if isinstance(here, list) and part.isdigit() and int(part) < len(here):
        return here[int(part)]
    return None


def _joined(under: Settings, over: Settings) -> Settings:
    """Return both, key by key at every depth; `over` holds, unless it is null."""
    out = {**under, **over}
    for key in under.keys() & over.keys():
        if isinstance(under[key], dict) and isinstance(over[key], dict):
            out[key] = _joined(under[key], over[key])
        elif over[key] is None:
            out[key] = under[key]
    return out


def _audio(audio: Settings) -> Settings:
    """Return `audio` with formats by their names as objects, and no detection as null."""
    out = dict(audio)
    for side in ("input", "output"):
        given = out.get(side)
        if not isinstance(given, dict):
            continue
        changed = dict(given)
        if isinstance(name := given.get("format"), str):
            changed["format"] = {"type": _encoding(name)}
        elif isinstance(name, dict) and isinstance(name.get("type"), str):
            changed["format"] = {**name, "type": _encoding(name["type"])}
        detection = given.get("turn_detection")
        if isinstance(detection, dict) and detection.get("type") == "none":
            changed["turn_detection"] = None
        out[side] = changed
    return out


def _modality(given: Any) -> Any:
    # ["text", "audio"] means speech with its transcript, which is what "audio" is in GA.
    if not isinstance(given, list):
        return given
    wanted = [each.lower() if isinstance(each, str) else each for each in given if each is not None]
    if "audio" in wanted:
        return ["audio"] if set(map(str, wanted)) <= {"audio", "text"} else given
    return wanted


def _encoding(name: str) -> str:
    return _NAMES.get(name.strip().lower().replace("-", "_"), name)


def _choice(given: Any) -> Any:
    """Return a choice of a tool; those without a name may come as an object, `{"type": "none"}`."""
    choice = _flat_tool(given)
    named = choice.get("type") if isinstance(choice, dict) and "name" not in choice else choice
    return _CHOICES.get(named, choice) if isinstance(named, str) else choice


def _flat_tool(tool: Any) -> Any:
    """Return a tool, or the choice of one, without the nesting of chat completions."""
    if not isinstance(tool, dict) or not isinstance(tool.get("function"), dict):
        return tool
    if tool.get("type") not in ("function", None):
        return tool
    return {"type": "function", **tool["function"]}
