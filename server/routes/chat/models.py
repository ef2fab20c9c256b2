"""What a chat completion is asked with."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from server.http.body import Body
from server.voice_names import VoiceId
from step_audio.core.encoding import AudioFormat, usual_name
from step_audio.core.ports import ToolSpec
from step_audio.dialog.tool_calls.tool_choice import ToolChoice

MAX_TEXT_CHARS = 20_000
Words = Annotated[str, Field(max_length=MAX_TEXT_CHARS)]


class TextPart(Body):
    """Words."""

    type: Literal["text"]
    text: Words


class AudioData(Body):
    """Sound as base64; what it is, its first bytes say."""

    data: Annotated[str, Field(min_length=1)]
    format: str = "wav"


class AudioPart(Body):
    """Sound of the user."""

    type: Literal["input_audio"]
    input_audio: AudioData


class RefusalPart(Body):
    """What an assistant said instead of an answer."""

    type: Literal["refusal"]
    refusal: Words


UserPart = Annotated[TextPart | AudioPart, Field(discriminator="type")]
AssistantPart = Annotated[TextPart | RefusalPart, Field(discriminator="type")]


class SystemMessage(Body):
    """What the assistant shall be."""

    role: Literal["system", "developer"]
    content: Words | list[TextPart]


class UserMessage(Body):
    """What the user wrote or said."""

    role: Literal["user"]
    content: Words | Annotated[list[UserPart], Field(min_length=1, max_length=64)]


class FunctionCall(Body):
    """Name and arguments as JSON text."""

    name: Annotated[str, Field(max_length=128)]
    arguments: Words


class ToolCallMade(Body):
    """A call the assistant made earlier."""

    id: Annotated[str, Field(min_length=1, max_length=128)]
    type: Literal["function"] = "function"
    function: FunctionCall


class AudioReference(Body):
    """A spoken answer of earlier, by its id."""

    id: Annotated[str, Field(max_length=128)]


class AssistantMessage(Body):
    """What the assistant answered earlier."""

    role: Literal["assistant"]
    content: Words | list[AssistantPart] | None = None
    audio: AudioReference | None = None
    tool_calls: Annotated[list[ToolCallMade], Field(max_length=64)] | None = None


class ToolMessage(Body):
    """What a tool of the client returned."""

    role: Literal["tool"]
    content: Words | list[TextPart]
    tool_call_id: Annotated[str, Field(max_length=128)]


Message = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]


class Function(Body):
    """A function of the client."""

    name: Annotated[str, Field(pattern=r"^[\w-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ChatTool(Body):
    """A tool of the client."""

    type: Literal["function"]
    function: Function


class ChatNamedTool(Body):
    """The tool that must be called."""

    type: Literal["function"]
    function: FunctionName


class FunctionName(Body):
    """A function by its name."""

    name: str


def _format_name(given: Any) -> Any:
    return given if given == "pcm16" else usual_name(given)


class ChatAudioOutput(Body):
    """How a spoken answer is wanted."""

    voice: str | VoiceId | None = None
    format: Annotated[AudioFormat | Literal["pcm16"], BeforeValidator(_format_name)] = "wav"


class StreamOptions(Body):
    """What a stream tells besides the answer."""

    include_usage: bool | None = None


Stops = Annotated[list[Annotated[str, Field(max_length=256)]], Field(max_length=16)]


class ChatRequest(Body):
    """A chat completion as OpenAI clients ask for it."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model": "step-audio-nano",
                "modalities": ["text", "audio"],
                "audio": {"voice": "alloy", "format": "wav"},
                "messages": [{"role": "user", "content": "What is twelve plus thirty?"}],
            }
        },
    )

    messages: Annotated[list[Message], Field(min_length=1, max_length=500)]
    model: str | None = None
    modalities: Annotated[list[Literal["text", "audio"]], Field(min_length=1)] | None = None
    audio: ChatAudioOutput | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: Annotated[list[ChatTool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChatNamedTool | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    n: Literal[1] | None = None
    stop: Annotated[str, Field(max_length=256)] | Stops | None = None
    """Text of an answer ends before the first of these."""
    parallel_tool_calls: bool | None = None
    """False: only the first call of an answer counts."""
    response_format: dict[str, Any] | None = None
    """`{"type": "text"}`; no model here is held to a schema."""
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, Any] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    functions: list[Any] | None = None
    function_call: Any = None
    web_search_options: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> ChatRequest:
        if self.messages[-1].role not in ("user", "tool"):
            raise ValueError("the last message must be of the user or of a tool")
        if self.stream and self.aloud and self.audio and self.audio.format != "pcm16":
            raise ValueError("a stream carries audio.format pcm16 only")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        """What ends the text of an answer."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(stop for stop in given if stop)

    @property
    def unserved(self) -> tuple[str, str] | None:
        """The field that asks for what no model here does, and what to do; None: there is none."""
        if (self.response_format or {}).get("type", "text") != "text":
            return "response_format", "answers are plain text here; ask for JSON in a message"
        if self.stops and self.aloud:
            return "stop", "speech cannot be cut at a word; leave stop out, or ask for text"
        for name in ("functions", "function_call"):
            if getattr(self, name):
                return name, "send tools and tool_choice instead"
        for name in (
            *("logprobs", "top_logprobs", "logit_bias", "presence_penalty", "frequency_penalty"),
            "web_search_options",
        ):
            if getattr(self, name) is not None and getattr(self, name) not in (False, 0, {}):
                return name, "no model here does that; leave it out"
        return None

    @property
    def aloud(self) -> bool:
        """Whether the answer is spoken."""
        return "audio" in (self.modalities or ())

    @property
    def choice(self) -> ToolChoice:
        """Whether a tool is called."""
        chosen = self.tool_choice
        if isinstance(chosen, ChatNamedTool):
            return ToolChoice("required", (chosen.function.name,))
        return ToolChoice(chosen or "auto")

    @property
    def client_tools(self) -> frozenset[str]:
        """Names of the tools that the client runs, none while it forbids calls."""
        return frozenset(tool.name for tool in self.tool_specs)

    @property
    def tool_specs(self) -> tuple[ToolSpec, ...]:
        """The tools that the client runs, as a model is told of them."""
        if self.tool_choice == "none":
            return ()
        functions = [tool.function for tool in self.tools or ()]
        return tuple(ToolSpec(f.name, f.description or "", f.parameters or {}) for f in functions)


ChatNamedTool.model_rebuild()
