"""What clients may send: one model an event. Unknown fields are ignored, wrong ones refused.

Null is the default at every depth: of a field that has no other meaning for it, it is left out.
What can only mean one thing is taken for it, as in bodies of requests: 500.0 or "500" for 500.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from server.http.body import meant
from server.http.errors import RequestError
from step_audio.core.delivery import SPEEDS, VOLUMES

MAX_TEXT_CHARS: Final = 20_000
MAX_TOOLS: Final = 64
MAX_AUDIO_MS: Final = 24 * 3600 * 1000
"""Longer than anything is said; a time beyond it means the end."""

Words = Annotated[str, Field(max_length=MAX_TEXT_CHARS)]
RoleWords = Annotated[str, Field(max_length=4000)]
"""Who the model is to be: words of a client that stand in every prompt as they are."""
ShortWords = Annotated[str, Field(max_length=100)]
Level = Annotated[int, Field(ge=1, le=5)]
Id = Annotated[str, Field(min_length=1, max_length=128)]


class Wire(BaseModel):
    """Base of the wire models. `model_fields_set` tells a null from an absent field."""

    model_config = ConfigDict(extra="ignore", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_the_default(cls, given: Any) -> Any:
        """Leave out nulls of fields that are not made for them; take values as they are meant."""
        if not isinstance(given, dict):
            return given
        return {
            name: cls._meant(name, value)
            for name, value in given.items()
            if value is not None or cls._has(name)
        }

    @classmethod
    def _meant(cls, name: str, value: Any) -> Any:
        field = cls.model_fields.get(name)
        if field is None:
            return value
        if isinstance(value, list):
            return [each for each in value if each is not None]
        return meant(field.annotation, value)

    @classmethod
    def _has(cls, name: str) -> bool:
        """Return whether a null in a field says something."""
        field = cls.model_fields.get(name)
        return field is not None and type(None) in get_args(field.annotation)


class FormatPatch(Wire):
    """A part of an encoding; `rate` only confirms what the type says."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] | None = None
    rate: int | None = None


class TurnDetectionPatch(Wire):
    """A part of a turn detection, of either kind; what is absent stays as it is."""

    type: Literal["server_vad", "semantic_vad"] | None = None
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    prefix_padding_ms: Annotated[int, Field(ge=0, le=5000)] | None = None
    silence_duration_ms: Annotated[int, Field(ge=100, le=10_000)] | None = None
    idle_timeout_ms: Annotated[int, Field(ge=1000, le=600_000)] | None = None
    eagerness: Literal["low", "medium", "high", "auto"] | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None


class AudioInput(Wire):
    format: FormatPatch | None = None
    transcription: dict[str, Any] | None = None
    noise_reduction: dict[str, Any] | None = None
    turn_detection: TurnDetectionPatch | None = None


class VoiceRef(Wire):
    id: Id


class AudioOutput(Wire):
    format: FormatPatch | None = None
    voice: Annotated[Id | VoiceRef | None, BeforeValidator(lambda name: name or None)] = None
    speed: Annotated[float, Field(ge=SPEEDS[0], le=SPEEDS[1])] | None = None
    volume: Annotated[float, Field(ge=VOLUMES[0], le=VOLUMES[1])] | None = None


class SessionAudio(Wire):
    input: AudioInput | None = None
    output: AudioOutput | None = None


class Tool(Wire):
    """A function that the client runs."""

    type: Literal["function"] = "function"
    name: Id
    description: Words = ""
    parameters: dict[str, Any] = Field(default_factory=dict)


class UnservedTool(Wire):
    """A tool of a kind that this server does not run, such as `mcp`."""

    type: Id
    server_label: ShortWords | None = None


class NamedTool(Wire):
    type: Literal["function"] = "function"
    name: Id


def _kind_of_tool(given: Any) -> str:
    kind = given.get("type") if isinstance(given, dict) else getattr(given, "type", None)
    return "function" if kind in (None, "function") else "unserved"


AnyTool = Annotated[
    Annotated[Tool, Tag("function")] | Annotated[UnservedTool, Tag("unserved")],
    Discriminator(_kind_of_tool),
]
Tools = Annotated[list[AnyTool], Field(max_length=MAX_TOOLS)]
ToolChoice = (
    Literal["auto", "none", "required"]
    | Annotated[
        Annotated[NamedTool, Tag("function")] | Annotated[UnservedTool, Tag("unserved")],
        Discriminator(_kind_of_tool),
    ]
)
Modalities = Annotated[list[Literal["audio", "text"]], Field(min_length=1, max_length=1)]
Temperature = Annotated[float, Field(ge=0, le=2)]
"""Of the beta shape."""
MaxTokens = Annotated[int, Field(ge=1, le=4096)] | Literal["inf"]


class StylePatch(Wire):
    """An extension: how to speak; null takes a wish back."""

    role: RoleWords | None = None
    emotion: ShortWords | None = None
    dialect: ShortWords | None = None
    mode: Literal["speech", "sing", "rap"] | None = None
    speed: Level | None = None
    loudness: Level | None = None


Purpose = Literal["realtime", "transcription"]
"""Of a session: a conversation, or words alone."""


class Unserved(Wire):
    """Fields of OpenAI's that change nothing here, read so that this can be told."""

    parallel_tool_calls: Any = None
    reasoning: Any = None
    tracing: Any = None
    truncation: Any = None


class SessionPatch(Unserved):
    """A part of a session; what is absent stays as it is."""

    type: Purpose = "realtime"
    output_modalities: Modalities | None = None
    instructions: Words | None = None
    style: StylePatch | None = None
    audio: SessionAudio | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    max_output_tokens: MaxTokens | None = None
    temperature: Temperature | None = None
    prompt: dict[str, Any] | str | None = None
    include: Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=16)] | None = (
        None
    )


class ContentPart(Wire):
    type: Literal["input_text", "input_audio", "output_text", "output_audio", "text", "audio"]
    text: Words | None = None
    audio: str | None = None
    transcript: Words | None = None

    @property
    def words(self) -> str:
        """What it says in letters."""
        return self.text or self.transcript or ""


class MessageItem(Wire):
    type: Literal["message"]
    id: Id | None = None
    role: Literal["user", "assistant", "system"]
    content: Annotated[list[ContentPart], Field(max_length=64)] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _as_in_chat_completions(cls, given: Any) -> Any:
        """Take a plain text for a part of text, and a developer's message for the system's."""
        if not isinstance(given, dict):
            return given
        role, content = given.get("role"), given.get("content")
        kind = "output_text" if role == "assistant" else "input_text"
        parts = [content] if isinstance(content, str) else content
        if isinstance(parts, list):
            content = [{"type": kind, "text": p} if isinstance(p, str) else p for p in parts]
        meant = {"role": "system" if role == "developer" else role, "content": content}
        return {**given, **{name: value for name, value in meant.items() if name in given}}


def _as_json(given: Any) -> Any:
    return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)


class FunctionCallItem(Wire):
    type: Literal["function_call"]
    id: Id | None = None
    call_id: Id | None = None
    name: Id
    arguments: Annotated[Words, BeforeValidator(_as_json)] = "{}"


class FunctionOutputItem(Wire):
    type: Literal["function_call_output"]
    id: Id | None = None
    call_id: Id
    output: Annotated[Words, BeforeValidator(_as_json)] = ""


ClientItem = Annotated[
    MessageItem | FunctionCallItem | FunctionOutputItem, Field(discriminator="type")
]


class ItemReference(Wire):
    type: Literal["item_reference"]
    id: Id


ContextItem = Annotated[
    MessageItem | FunctionCallItem | FunctionOutputItem | ItemReference,
    Field(discriminator="type"),
]


class ResponseParams(Unserved):
    """What one response does differently from the session."""

    instructions: Words | None = None
    output_modalities: Modalities | None = None
    style: StylePatch | None = None
    audio: SessionAudio | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    max_output_tokens: MaxTokens | None = None
    temperature: Temperature | None = None
    metadata: dict[str, Any] | None = None
    conversation: Literal["auto", "none"] = "auto"
    input: Annotated[list[ContextItem], Field(max_length=64)] | None = None
    history: Annotated[list[ClientItem], Field(max_length=512)] | None = None
    """Of the stateless dialect, as `interrupt_current_response`."""
    interrupt_current_response: bool = False


class SessionRestore(Wire):
    pass


class SessionUpdate(Wire):
    session: SessionPatch | None


class BufferAppend(Wire):
    audio: str


class BufferCommit(Wire):
    pass


class BufferClear(Wire):
    pass


class ItemCreate(Wire):
    item: ClientItem
    previous_item_id: Id | None = None


class ItemRetrieve(Wire):
    item_id: Id


class ItemTruncate(Wire):
    item_id: Id
    content_index: Annotated[int, Field(ge=0)] = 0
    audio_end_ms: Annotated[
        int,
        Field(ge=0),
        BeforeValidator(lambda ms: int(ms) if isinstance(ms, float) else ms),
        AfterValidator(lambda ms: min(ms, MAX_AUDIO_MS)),
    ]


class ItemDelete(Wire):
    item_id: Id


class ResponseCreate(Wire):
    response: ResponseParams | None = None


class ResponseCancel(Wire):
    response_id: Id | None = None


EVENTS: Final[dict[str, type[Wire]]] = {
    "session.update": SessionUpdate,
    "session.restore": SessionRestore,
    "input_audio_buffer.append": BufferAppend,
    "input_audio_buffer.commit": BufferCommit,
    "input_audio_buffer.clear": BufferClear,
    "conversation.item.create": ItemCreate,
    "conversation.item.retrieve": ItemRetrieve,
    "conversation.item.truncate": ItemTruncate,
    "conversation.item.delete": ItemDelete,
    "response.create": ResponseCreate,
    "response.cancel": ResponseCancel,
}


def decode(text: str) -> dict[str, Any]:
    """Return a message as a JSON object. Raises RequestError: it is none."""
    try:
        raw = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise RequestError("the message is not JSON", code="invalid_json") from None
    if not isinstance(raw, dict):
        raise RequestError("a message must be a JSON object", code="invalid_json")
    return raw


def parse(raw: dict[str, Any]) -> Wire:
    """Return the event a client sent. Raises RequestError: unknown, or a field is wrong."""
    kind = raw.get("type")
    model = EVENTS.get(kind) if isinstance(kind, str) else None
    if model is None:
        shown = kind[:64] if isinstance(kind, str) else kind.__class__.__name__
        raise RequestError(f"unknown event type {shown!r}", code="unknown_event", param="type")
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        found = [
            (_place(raw, one["loc"], missing=one["type"] == "missing"), one["msg"])
            for one in errors
        ]
        # Of the kinds that a value could have been, the one that it came closest to.
        closest = [one for one in found if f"{one[0]}.".startswith(f"{found[0][0]}.")]
        param, said = max(closest, key=lambda one: one[0].count("."))
        raise RequestError(f"{param}: {said}", param=param) from None


def _place(raw: dict[str, Any], location: tuple[int | str, ...], *, missing: bool) -> str:
    """Return where in the client's event something is wrong, without the tags of unions."""
    here: Any = raw
    place: list[str] = []
    for at, part in enumerate(location):
        known = isinstance(part, int) if isinstance(here, list) else isinstance(here, dict)
        if known and isinstance(here, dict):
            known = part in here or (missing and at == len(location) - 1)
        if known:
            place.append(str(part))
            inside = isinstance(here, list) or part in here
            here = here[part] if inside else None
    return ".".join(place)


def _finite(number: str) -> float:
    # What is echoed must be JSON again, and infinity is not.
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is too large")
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
