"""A client's changes to the settings of a session, or of one response.

What is absent stays, at every depth; null is the default. An update is applied whole or, where
something in it is wrong, not at all; what cannot be served and harms nothing is told as a warning.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from server.http.errors import RequestError
from server.realtime.wire import client_events as wire
from server.realtime.wire.audio import FORMATS, PCM, Format
from server.realtime.wire.response_events import BUILTIN_CALLS, REASONING
from server.realtime.wire.session_config import SessionConfig, transcribing
from server.realtime.wire.style import PLAIN, SessionStyle
from server.realtime.wire.turn_detection import updated
from server.voice_names import VoiceNames
from step_audio.core.errors import VoiceNotFound
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.role_play.role import Role

INCLUDABLE: Final = (BUILTIN_CALLS, REASONING, "session.expiring")
Patch = wire.SessionPatch | wire.ResponseParams


def merged(
    config: SessionConfig, patch: Patch, assistant: Assistant, names: VoiceNames
) -> SessionConfig:
    """Return the settings with a client's changes.

    Raises:
        RequestError: a value this server cannot honour; `param` says where.
    """
    given = patch.model_fields_set
    where = "session" if isinstance(patch, wire.SessionPatch) else "response"
    changes: dict[str, Any] = {}
    if isinstance(patch, wire.SessionPatch) and "type" in given and patch.type != config.purpose:
        if patch.type == "realtime":
            said = "a transcription session gives no answers; open another session for those"
            raise RequestError(said, code="invalid_session_type", param="session.type")
        config = transcribing(config)
    if "output_modalities" in given:
        changes["modality"] = (patch.output_modalities or ["audio"])[0]
    if "instructions" in given:
        changes["instructions"] = patch.instructions or ""
    if "tools" in given:
        served = [tool for tool in patch.tools or [] if isinstance(tool, wire.Tool)]
        changes["tools"] = tuple(tool.model_dump() for tool in served)
    if "tool_choice" in given:
        choice = patch.tool_choice
        named = choice.model_dump() if isinstance(choice, wire.NamedTool) else "auto"
        changes["tool_choice"] = choice if isinstance(choice, str) else named
    if "max_output_tokens" in given:
        limit = patch.max_output_tokens
        changes["max_output_tokens"] = limit if isinstance(limit, int) else None
    if "temperature" in given:
        changes["temperature"] = patch.temperature
    if "style" in given:
        changes["style"] = _restyled(config.style, patch.style, assistant, names)
    if isinstance(patch, wire.SessionPatch) and "include" in given:
        changes["include"] = tuple(patch.include or ())
    if patch.audio is not None and patch.audio.input is not None:
        changes |= _input_changes(config, patch.audio.input, assistant, f"{where}.audio.input")
    if patch.audio is not None and patch.audio.output is not None:
        changes |= _output_changes(config, patch.audio.output, names, f"{where}.audio.output")
    changed = replace(config, **changes)
    return transcribing(changed) if changed.purpose == "transcription" else changed


def warnings(patch: Patch, assistant: Assistant) -> list[dict[str, Any]]:
    """Return what of a patch is not served although the rest of it is; `param` says where."""
    where = "session" if isinstance(patch, wire.SessionPatch) else "response"
    out = [
        _unserved(tool, f"{where}.tools.{at}")
        for at, tool in enumerate(patch.tools or ())
        if isinstance(tool, wire.UnservedTool)
    ]
    if isinstance(patch.tool_choice, wire.UnservedTool):
        out.append(_unserved(patch.tool_choice, f"{where}.tool_choice"))
    if isinstance(patch, wire.SessionPatch) and patch.prompt is not None:
        said = "no prompts are stored here; send the text as instructions"
        out.append({"code": "unsupported_value", "message": said, "param": f"{where}.prompt"})
    out += _idle(patch, where)
    hears = patch.audio.input if patch.audio else None
    if hears and hears.noise_reduction:
        said = "sound is heard as it is sent; reduce its noise before"
        place = f"{where}.audio.input.noise_reduction"
        out.append({"code": "unsupported_value", "message": said, "param": place})
    if hears and hears.turn_detection and assistant.services.turn_detector is None:
        said = "nothing finds the turns here; send input_audio_buffer.commit"
        place = f"{where}.audio.input.turn_detection"
        out.append({"code": "unsupported_value", "message": said, "param": place})
    return out


def _idle(patch: Patch, where: str) -> list[dict[str, Any]]:
    """Return the fields that change nothing here, where they ask for a change."""
    asked: dict[str, tuple[tuple[object, ...], str]] = {
        "parallel_tool_calls": ((None, True), "calls of one answer run side by side"),
        "reasoning": (
            (None,),
            "what a chat model thinks first is set in the profile",
        ),
        "tracing": ((None,), "traces are kept where the profile has server.traces, for who asks"),
        "truncation": ((None, "auto"), "the oldest exchanges are left out when there is no room"),
    }
    return [
        {"code": "unsupported_value", "message": f"not applied: {said}", "param": f"{where}.{name}"}
        for name, (usual, said) in asked.items()
        if getattr(patch, name) not in usual
    ] + [
        {
            "code": "unsupported_value",
            "message": f"nothing is told for {wish!r}; known: {', '.join(INCLUDABLE)}",
            "param": f"{where}.include.{at}",
        }
        for at, wish in enumerate(getattr(patch, "include", None) or ())
        if wish not in INCLUDABLE
    ]


def _unserved(tool: wire.UnservedTool, param: str) -> dict[str, Any]:
    label = f" {tool.server_label!r}" if tool.server_label else ""
    said = (
        f"tools of type {tool.type!r}{label} are not run here and are left out; functions are: "
        "run it yourself and send one, or give the server's operator its address"
    )
    return {"code": "unsupported_tool", "message": said, "param": param}


def _restyled(
    style: SessionStyle, patch: wire.StylePatch | None, assistant: Assistant, names: VoiceNames
) -> SessionStyle:
    """Return a style with a client's changes; a null takes a wish back, or all of them."""
    if patch is None:
        return PLAIN
    given = {name: getattr(patch, name) for name in patch.model_fields_set}
    if "role" in given:
        role = assistant.role(given["role"]) if (given["role"] or "").strip() else None
        voice, why = _voice_of(role, names)
        given |= {"role": role, "role_voice": voice, "no_role_voice": why}
    return replace(
        style,
        **{n: getattr(PLAIN, n) if value is None else value for n, value in given.items()},
    )


def _voice_of(role: Role | None, names: VoiceNames) -> tuple[str | None, str]:
    """Return the first voice of a role's card that is here, or why there is none."""
    asked = role.card.voice if role and role.card else ()
    for name in asked:
        try:
            return names.resolve(name), ""
        except VoiceNotFound:
            continue
    return None, f"none of its voices is here: {', '.join(asked)}" if asked else ""


def _input_changes(
    config: SessionConfig, patch: wire.AudioInput, assistant: Assistant, where: str
) -> dict[str, Any]:
    given, changes = patch.model_fields_set, dict[str, Any]()
    for name in ("transcription", "noise_reduction"):
        if name in given:
            changes[name] = _together(getattr(config, name), getattr(patch, name))
    if "format" in given:
        changes["input_format"] = _format(config.input_format, patch.format, f"{where}.format")
    # Without a detector the client has to say where a turn ends, whatever it wishes.
    if "turn_detection" in given and assistant.services.turn_detector is not None:
        changes["turn_detection"] = updated(
            config.turn_detection,
            patch.turn_detection,
            assistant.settings.turns,
            f"{where}.turn_detection",
        )
    return changes


def _output_changes(
    config: SessionConfig, patch: wire.AudioOutput, names: VoiceNames, where: str
) -> dict[str, Any]:
    given, changes = patch.model_fields_set, dict[str, Any]()
    for name in ("speed", "volume"):
        if name in given:
            value = getattr(patch, name)
            changes[name] = 1.0 if value is None else value
    if "format" in given:
        changes["output_format"] = _format(config.output_format, patch.format, f"{where}.format")
    if "voice" in given:
        voice = patch.voice.id if isinstance(patch.voice, wire.VoiceRef) else patch.voice
        try:
            speaker = names.resolve(voice)
        except VoiceNotFound as error:
            raise RequestError(str(error), code=error.code, param=f"{where}.voice") from error
        named = bool(voice and voice.strip())
        changes |= {"voice": voice or speaker, "speaker": speaker, "voice_chosen": named}
    return changes


def _together(before: dict[str, Any] | None, given: dict[str, Any] | None) -> dict[str, Any] | None:
    if given is None:
        return None
    both = {**(before or {}), **given}
    return {key: value for key, value in both.items() if value is not None}


def _format(before: Format, patch: wire.FormatPatch | None, where: str) -> Format:
    """Return an encoding. Raises RequestError: not at that rate."""
    if patch is None:
        return PCM
    kept = before if "type" not in patch.model_fields_set else PCM
    encoding = kept if patch.type is None else FORMATS[patch.type]
    if patch.rate not in (None, encoding.rate_hz):
        raise RequestError(
            f"{encoding.name} is at {encoding.rate_hz} Hz here", param=f"{where}.rate"
        )
    return encoding
