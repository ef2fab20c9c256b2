"""The settings of one realtime session: merged from updates, shown as they truly are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from server.errors import RequestError
from server.realtime.events import ResponseParams, SessionAudio, SessionPatch, VoiceRef
from step_audio.core.errors import VoiceNotFound

RATE_HZ: Final = 24_000
FORMAT: Final = {"type": "audio/pcm", "rate": RATE_HZ}

Modality = Literal["audio", "text"]


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What holds for one session, or, changed by `response.create`, for one response."""

    session_id: str
    model: str
    voice: str
    modality: Modality = "audio"
    instructions: str = ""
    transcription: dict[str, Any] | None = None
    noise_reduction: dict[str, Any] | None = None
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: str | dict[str, Any] = "auto"
    max_output_tokens: int | None = None

    @property
    def client_tools(self) -> frozenset[str]:
        """Names of the tools that the client runs, none while it forbids calls."""
        if self.tool_choice == "none":
            return frozenset()
        return frozenset(str(tool["name"]) for tool in self.tools)

    def wire(self) -> dict[str, Any]:
        """Return the session object of the protocol.

        `turn_detection` is null: the client says when a turn ends.
        """
        return {
            "type": "realtime",
            "object": "realtime.session",
            "id": self.session_id,
            "model": self.model,
            "output_modalities": [self.modality],
            "instructions": self.instructions,
            "audio": {
                "input": {
                    "format": FORMAT,
                    "transcription": self.transcription,
                    "noise_reduction": self.noise_reduction,
                    "turn_detection": None,
                },
                "output": {"format": FORMAT, "voice": self.voice, "speed": 1.0},
            },
            "tools": list(self.tools),
            "tool_choice": self.tool_choice,
            "max_output_tokens": "inf"
            if self.max_output_tokens is None
            else self.max_output_tokens,
            "truncation": "auto",
            "tracing": None,
            "prompt": None,
            "include": None,
        }


def merged(
    config: SessionConfig, patch: SessionPatch | ResponseParams, voices: Sequence[str]
) -> SessionConfig:
    """Return the settings with a client's changes; absent fields stay, nulls turn off.

    Raises:
        RequestError: a value this server cannot honour. VoiceNotFound.
    """
    given = patch.model_fields_set
    changes: dict[str, Any] = {}
    if patch.output_modalities is not None:
        changes["modality"] = patch.output_modalities[0]
    if "instructions" in given:
        changes["instructions"] = patch.instructions or ""
    if "tools" in given:
        changes["tools"] = tuple(tool.model_dump() for tool in patch.tools or [])
    if patch.tool_choice is not None:
        choice = patch.tool_choice
        changes["tool_choice"] = choice if isinstance(choice, str) else choice.model_dump()
    if "max_output_tokens" in given:
        limit = patch.max_output_tokens
        changes["max_output_tokens"] = limit if isinstance(limit, int) else None
    if patch.audio is not None:
        changes |= _audio_changes(patch.audio, voices)
    return replace(config, **changes)


def _audio_changes(audio: SessionAudio, voices: Sequence[str]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if audio.input is not None:
        for name in ("transcription", "noise_reduction"):
            if name in audio.input.model_fields_set:
                changes[name] = getattr(audio.input, name)
    if audio.output is not None:
        if audio.output.speed not in (None, 1.0):
            raise RequestError(
                "this voice has one speed; leave speed at 1.0", param="session.audio.output.speed"
            )
        voice = audio.output.voice
        if voice is not None:
            name = voice.id if isinstance(voice, VoiceRef) else voice
            if name not in voices:
                raise VoiceNotFound(name, tuple(voices))
            changes["voice"] = name
    return changes
