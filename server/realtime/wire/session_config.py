"""The settings of one realtime session: merged from updates, shown as they truly are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from server.http.errors import RequestError
from server.realtime.wire.audio import FORMATS, PCM, Format
from server.realtime.wire.client_events import (
    Purpose,
    ResponseParams,
    SessionAudio,
    SessionPatch,
    StylePatch,
    VoiceRef,
)
from server.realtime.wire.style import PLAIN, SessionStyle
from server.realtime.wire.turn_detection import TurnDetection, chosen
from server.voice_names import VoiceNames
from step_audio.core.delivery import SPEEDS, VOLUMES
from step_audio.core.ports import RecognitionHints, ToolSpec
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.ids import new_id
from step_audio.dialog.tool_calls.tool_choice import ToolChoice

Modality = Literal["audio", "text"]


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What holds for one session, or, changed by `response.create`, for one response.

    `voice` is the name that the client knows, `speaker` the voice of the store that it means.
    """

    session_id: str
    model: str
    voice: str
    speaker: str
    purpose: Purpose = "realtime"
    modality: Modality = "audio"
    instructions: str = ""
    transcription: dict[str, Any] | None = None
    noise_reduction: dict[str, Any] | None = None
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: Literal["auto", "none", "required"] | dict[str, Any] = "auto"
    max_output_tokens: int | None = None
    temperature: float | None = None
    """None: the profile's."""
    input_format: Format = PCM
    output_format: Format = PCM
    speed: float = 1.0
    volume: float = 1.0
    style: SessionStyle = PLAIN
    takes_instructions: bool = False
    turn_detection: TurnDetection | None = None
    """None: the client says when a turn ends."""
    include: tuple[str, ...] = ()
    """Events that are sent only to those who ask."""
    expires_at: int | None = None
    """When the session ends at the latest, in seconds of Unix time."""

    @property
    def client_tools(self) -> frozenset[str]:
        """Names of the tools that the client runs, none while it forbids calls."""
        return frozenset(tool.name for tool in self.tool_specs)

    @property
    def tool_specs(self) -> tuple[ToolSpec, ...]:
        """The tools that the client runs, as a model is told of them."""
        if self.tool_choice == "none":
            return ()
        return tuple(
            ToolSpec(
                str(tool["name"]), str(tool.get("description") or ""), tool.get("parameters") or {}
            )
            for tool in self.tools
        )

    @property
    def choice(self) -> ToolChoice:
        """Whether a tool is called."""
        chosen = self.tool_choice
        if isinstance(chosen, dict):
            return ToolChoice("required", (str(chosen["name"]),))
        return ToolChoice(chosen)

    @property
    def recognition_hints(self) -> RecognitionHints:
        """What the client tells of the speech in its questions."""
        told = self.transcription or {}
        language, context = told.get("language"), told.get("prompt")
        return RecognitionHints(
            language.partition("-")[0].lower() if isinstance(language, str) else "",
            context if isinstance(context, str) else "",
        )

    @property
    def after_calls(self) -> SessionConfig:
        """The same for telling what a call brought: one that was required has been made."""
        return replace(self, tool_choice="auto") if self.choice.requires else self

    @property
    def pace(self) -> float:
        """How much faster than the model spoke its speech is sent."""
        low, high = SPEEDS
        return min(high, max(low, self.speed * self.style.speed_factor))

    @property
    def loudness(self) -> float:
        """Factor on the samples of what the model spoke."""
        return min(VOLUMES[1], self.volume * self.style.volume_factor)

    @property
    def system(self) -> str:
        """The client's instructions, with what the style adds."""
        return self.style.instructions(self.instructions)

    def _hears(self) -> dict[str, Any]:
        """Return `audio.input` of the session object."""
        detection = self.turn_detection
        return {
            "format": self.input_format.wire(),
            "transcription": self.transcription,
            "noise_reduction": self.noise_reduction,
            "turn_detection": detection.wire() if detection else None,
        }

    def wire(self) -> dict[str, Any]:
        """Return the session object of the protocol; `style` is an extension."""
        if self.purpose == "transcription":
            return {
                "type": "transcription",
                "object": "realtime.transcription_session",
                "id": self.session_id,
                "audio": {"input": self._hears()},
                "include": list(self.include) or None,
                **({"expires_at": self.expires_at} if self.expires_at is not None else {}),
            }
        return {
            "type": "realtime",
            "object": "realtime.session",
            "id": self.session_id,
            "model": self.model,
            "output_modalities": [self.modality],
            "instructions": self.instructions,
            "audio": {
                "input": self._hears(),
                "output": {
                    "format": self.output_format.wire(),
                    "voice": self.voice,
                    "speed": self.speed,
                    "volume": self.volume,
                },
            },
            "tools": list(self.tools),
            "tool_choice": self.tool_choice,
            "max_output_tokens": "inf"
            if self.max_output_tokens is None
            else self.max_output_tokens,
            "style": self.style.wire(takes_instructions=self.takes_instructions),
            "truncation": "auto",
            "tracing": None,
            "prompt": None,
            "include": list(self.include) or None,
            **({"temperature": self.temperature} if self.temperature is not None else {}),
            **({"expires_at": self.expires_at} if self.expires_at is not None else {}),
        }


def first_config(assistant: Assistant, expires_at: int | None = None) -> SessionConfig:
    """Return the settings that a session starts with: the server finds the turns if it can."""
    services, turns = assistant.services, assistant.settings.turns
    return SessionConfig(
        f"sess_{new_id()}",
        services.model_name,
        services.default_voice,
        services.default_voice,
        takes_instructions=assistant.settings.takes_instructions,
        expires_at=expires_at,
        turn_detection=TurnDetection("server_vad", turns.silence_ms)
        if services.turn_detector
        else None,
    )


def merged(
    config: SessionConfig,
    patch: SessionPatch | ResponseParams,
    assistant: Assistant,
    names: VoiceNames,
) -> SessionConfig:
    """Return the settings with a client's changes; absent fields stay, nulls turn off.

    Raises:
        RequestError: a value this server cannot honour. VoiceNotFound.
    """
    given = patch.model_fields_set
    changes: dict[str, Any] = {}
    if isinstance(patch, SessionPatch) and patch.type not in (None, config.purpose):
        if patch.type == "realtime":
            said = "a transcription session gives no answers; open another session for those"
            raise RequestError(said, code="invalid_session_type", param="session.type")
        config = transcribing(config)
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
    if patch.temperature is not None:
        changes["temperature"] = patch.temperature
    if patch.style is not None:
        changes["style"] = _restyled(config.style, patch.style)
    if isinstance(patch, SessionPatch) and "include" in given:
        changes["include"] = tuple(patch.include or ())
    if patch.audio is not None:
        changes |= _audio_changes(patch.audio, assistant, names)
    changed = replace(config, **changes)
    return transcribing(changed) if changed.purpose == "transcription" else changed


def transcribing(config: SessionConfig) -> SessionConfig:
    """Return a session's settings for words alone: it is never answered, always transcribed."""
    detection = config.turn_detection
    return replace(
        config,
        purpose="transcription",
        transcription=config.transcription or {"model": config.model},
        turn_detection=replace(detection, create_response=False) if detection else None,
    )


def _restyled(style: SessionStyle, patch: StylePatch) -> SessionStyle:
    """Return a style with a client's changes; a null takes a wish back."""
    given = {name: getattr(patch, name) for name in patch.model_fields_set}
    return replace(
        style,
        **{n: getattr(PLAIN, n) if value is None else value for n, value in given.items()},
    )


def _audio_changes(audio: SessionAudio, assistant: Assistant, names: VoiceNames) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if audio.input is not None:
        given = audio.input.model_fields_set
        for name in ("transcription", "noise_reduction"):
            if name in given:
                changes[name] = getattr(audio.input, name)
        if audio.input.format is not None:
            changes["input_format"] = FORMATS[audio.input.format.type]
        # Without a detector the client has to say where a turn ends, whatever it wishes.
        if "turn_detection" in given and assistant.services.turn_detector is not None:
            detection = audio.input.turn_detection
            changes["turn_detection"] = (
                chosen(detection, assistant.settings.turns) if detection else None
            )
    if audio.output is not None:
        out = audio.output
        changes |= {
            name: getattr(out, name)
            for name in ("speed", "volume")
            if getattr(out, name) is not None
        }
        if out.format is not None:
            changes["output_format"] = FORMATS[out.format.type]
        voice = audio.output.voice
        if voice is not None:
            name = voice.id if isinstance(voice, VoiceRef) else voice
            changes |= {"voice": name, "speaker": names.resolve(name)}
    return changes
