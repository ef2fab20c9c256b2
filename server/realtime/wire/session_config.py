"""The settings of one realtime session, shown as they truly are."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from server.realtime.wire.audio import PCM, Format
from server.realtime.wire.client_events import Purpose
from server.realtime.wire.style import PLAIN, SessionStyle
from server.realtime.wire.turn_detection import TurnDetection
from step_audio.core.delivery import SPEEDS, VOLUMES
from step_audio.core.ports import RecognitionHints, ToolSpec
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.ids import new_id
from step_audio.dialog.speakable.style_tags import Style, StyleReach
from step_audio.dialog.tool_calls.tool_choice import ToolChoice

Modality = Literal["audio", "text"]


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What holds for one session, or, changed by `response.create`, for one response.

    `voice` is the name that the client knows, `speaker` the voice of the store that it means;
    `voice_chosen`: the client named it, so that it goes before the voice of a role.
    """

    session_id: str
    model: str
    voice: str
    speaker: str
    voice_chosen: bool = False
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
    reach: StyleReach = field(default_factory=StyleReach)
    """What of `style` takes effect here."""
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
        return min(high, max(low, self.speed * self.style.speed_factor(self.reach)))

    @property
    def loudness(self) -> float:
        """Factor on the samples of what the model spoke."""
        return min(VOLUMES[1], self.volume * self.style.volume_factor)

    @property
    def spoken_voice(self) -> str:
        """The voice of the store that answers: the client's, else that of the role."""
        return self.speaker if self.voice_chosen else self.style.role_voice or self.speaker

    @property
    def style_lines(self) -> str:
        """What the style adds to the instructions of a model that takes them."""
        return self.style.lines(self.reach)

    @property
    def spoken_style(self) -> Style:
        """What a model that reads the answers aloud is told."""
        return self.style.spoken(self.reach)

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
                    "voice": self.voice if self.voice_chosen else self.spoken_voice,
                    "speed": self.speed,
                    "volume": self.volume,
                },
            },
            "tools": list(self.tools),
            "tool_choice": self.tool_choice,
            "max_output_tokens": "inf"
            if self.max_output_tokens is None
            else self.max_output_tokens,
            "style": self.style.wire(self.reach),
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
        reach=assistant.style_reach,
        expires_at=expires_at,
        turn_detection=TurnDetection("server_vad", turns.silence_ms)
        if services.turn_detector
        else None,
    )


def transcribing(config: SessionConfig) -> SessionConfig:
    """Return a session's settings for words alone: it is never answered, always transcribed."""
    detection = config.turn_detection
    return replace(
        config,
        purpose="transcription",
        transcription=config.transcription or {"model": config.model},
        turn_detection=replace(detection, create_response=False) if detection else None,
    )
