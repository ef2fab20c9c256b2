"""The seam to a chat model: messages in, an answer out in text. Beside `Engine`, which takes ids.

The shapes are those of OpenAI's chat completions, which every server of chat models speaks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from step_audio.core.types import Pcm, Reasoning, SamplingParams, TextDelta, ToolCall

if TYPE_CHECKING:
    from step_audio.core.ports import ToolSpec

MessageRole = Literal["system", "user", "assistant", "tool"]
CHAT_AUDIO_HZ = 16_000
"""Rate of the sound in a message."""


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message.

    Attributes:
        text: what is said.
        audio: sound behind it or instead, (T,) at `CHAT_AUDIO_HZ`: of the user, for models that
            hear.
        calls: tools that the assistant calls.
        call_id: of the call that a message of the role `tool` answers.
    """

    role: MessageRole
    text: str = ""
    audio: Pcm | None = field(default=None, compare=False)
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class ChatModelRequest:
    """One turn asked of a chat model.

    Attributes:
        messages: the conversation, the newest last.
        tools: that may be called.
        choice: whether one is called.
        name: of the one that has to be called, with `choice` "required"; "" for any.
        sampling: how the answer is drawn.
    """

    messages: tuple[ChatMessage, ...]
    sampling: SamplingParams
    tools: tuple[ToolSpec, ...] = ()
    choice: Literal["auto", "none", "required"] = "auto"
    name: str = ""


@dataclass(frozen=True, slots=True)
class ChatUsage:
    """What a turn took, in tokens of the chat model, and whether it ran into its limit."""

    read: int = 0
    written: int = 0
    cut_off: bool = False


ChatEvent = TextDelta | Reasoning | ToolCall | ChatUsage
"""Tool calls come whole. `ChatUsage` comes last, if the server tells it."""


class ChatModel(Protocol):
    """A chat model. Closing the iterator (`aclose`) aborts the request.

    `reply` raises EngineUnavailable, EngineLost or EngineRefused. `refused`: names of fields that
    the server turned out not to take, such as `tools`; they are not sent any more.
    """

    @property
    def refused(self) -> Collection[str]: ...

    def reply(self, request: ChatModelRequest) -> AsyncIterator[ChatEvent]: ...
    async def ready(self) -> bool: ...
    async def aclose(self) -> None: ...
