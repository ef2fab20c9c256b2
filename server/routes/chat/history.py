"""The messages of a request -> a conversation as the model knows it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from server.http.errors import RequestError
from server.http.uploads import decoded_base64
from server.routes.chat.models import (
    AssistantMessage,
    AudioPart,
    ChatRequest,
    Message,
    RefusalPart,
    SystemMessage,
    TextPart,
    ToolMessage,
    UserMessage,
)
from step_audio.core.types import ToolCall, ToolResult
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.ids import new_id
from step_audio.dialog.prompting.conversation import (
    Called,
    Conversation,
    Item,
    Returned,
    Typed,
    UserAudio,
)
from step_audio.dialog.transcription import spoken_in


class SpokenAnswers:
    """The words of spoken answers, by id, so that clients can refer to them; the last so many."""

    def __init__(self, most: int = 1000) -> None:
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._most = most

    def keep(self, audio_id: str, text: str) -> None:
        """Remember an answer, forget the oldest beyond the limit."""
        self._texts[audio_id] = text
        while len(self._texts) > self._most:
            self._texts.popitem(last=False)

    def get(self, audio_id: str) -> str | None:
        """Return the words of an answer; None when it is not (or no longer) known."""
        return self._texts.get(audio_id)


async def conversation_of(
    request: ChatRequest, assistant: Assistant, spoken: SpokenAnswers, warnings: list[str]
) -> tuple[Conversation, str]:
    """Return (conversation, instructions).

    Args:
        request, assistant, spoken: what is asked, by whom it is heard, what was said before.
        warnings: is told what was skipped of sound.

    Raises:
        RequestError: sound that cannot be used, or a reference to nothing; says where.
    """
    conversation, instructions, names = Conversation(), list[str](), dict[str, str]()
    for at, message in enumerate(request.messages):
        if isinstance(message, SystemMessage):
            instructions.append(_text(message.content))
            continue
        where = f"messages.{at}"
        for item in await _items(message, where, assistant, spoken, names, warnings=warnings):
            conversation.add(item)
    return conversation, "\n".join(instructions)


async def _items(
    message: Message,
    where: str,
    assistant: Assistant,
    spoken: SpokenAnswers,
    names: dict[str, str],
    *,
    warnings: list[str],
) -> list[Item]:
    match message:
        case UserMessage():
            return await _asked(message, where, assistant, warnings)
        case AssistantMessage():
            return _answered(message, where, spoken, names)
        case ToolMessage():
            name = names.get(message.tool_call_id)
            if name is None:
                raise RequestError(
                    f"no call {message.tool_call_id!r} before this message",
                    code="invalid_call_id",
                    param=f"{where}.tool_call_id",
                )
            result = ToolResult(message.tool_call_id, name, _text(message.content))
            return [Returned(_item_id(), result)]
        case SystemMessage():
            return []


async def _asked(
    message: UserMessage, where: str, assistant: Assistant, warnings: list[str]
) -> list[Item]:
    if isinstance(message.content, str):
        return [Typed(_item_id(), "human", message.content)]
    items: list[Item] = []
    for at, part in enumerate(message.content):
        if isinstance(part, AudioPart):
            sound = await decoded_base64(
                assistant.services,
                part.input_audio.data,
                max_s=assistant.settings.max_question_s,
                param=f"{where}.content.{at}.input_audio",
            )
            warnings += sound.warnings
            question = await spoken_in(assistant, sound.pcm, sound.rate_hz)
            items.append(UserAudio.spoken(_item_id(), question))
        else:
            items.append(Typed(_item_id(), "human", part.text))
    return items


def _answered(
    message: AssistantMessage, where: str, spoken: SpokenAnswers, names: dict[str, str]
) -> list[Item]:
    text = _text(message.content or "")
    if message.audio is not None and not text:
        kept = spoken.get(message.audio.id)
        if kept is None:
            raise RequestError(
                f"no spoken answer {message.audio.id!r} is known (any more); send its transcript "
                "as content",
                code="audio_not_found",
                param=f"{where}.audio.id",
            )
        text = kept
    items: list[Item] = [Typed(_item_id(), "assistant", text)] if text else []
    for made in message.tool_calls or ():
        names[made.id] = made.function.name
        call = ToolCall(made.id, made.function.name, made.function.arguments)
        items.append(Called(_item_id(), call))
    return items


def _text(content: str | Sequence[TextPart | RefusalPart]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(p.refusal if isinstance(p, RefusalPart) else p.text for p in content)


def _item_id() -> str:
    return f"item_{new_id()}"
