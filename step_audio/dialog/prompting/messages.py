"""A conversation as the messages of a chat model. Pure.

What servers and the chat templates behind them refuse does not occur: a system message anywhere
but in front, two messages in a row of one speaker, a call without a result or a result without a
call, arguments that are no JSON object, an empty message.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from step_audio.core.chat import ChatMessage, MessageRole
from step_audio.core.ports import ToolSpec
from step_audio.core.toolformat import is_object
from step_audio.core.types import Pcm, ToolCall
from step_audio.dialog.prompting.conversation import (
    Answer,
    Called,
    Conversation,
    Item,
    MultiPartMessage,
    Returned,
    Typed,
    UserAudio,
    WrittenPart,
)

_ROLES: dict[str, MessageRole] = {"human": "user", "assistant": "assistant"}
_MESSAGE_TOKENS = 6
"""Of a message without words."""
_BYTES_PER_TOKEN = 3
"""Of UTF-8: four for English, about two and a half for Chinese."""
_AUDIO_TOKENS_PER_S = 25
_KEPT_SHARE = 0.5
"""Of the room, after older messages were left out."""


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """What is sent of a conversation, and how many tokens of it had no room (estimated)."""

    messages: tuple[ChatMessage, ...]
    left_out: int = 0


def messages(
    conversation: Conversation,
    system: str,
    *,
    until: str | None = None,
    unheard: str = "",
    hears: bool = False,
) -> list[ChatMessage]:
    """Return a conversation as messages, the system's first.

    Args:
        conversation: what was said; answers that were cut off are in it as far as they were heard.
        system: "" for none.
        until: id of the last item to show, None for all.
        unheard: what stands for a question in which no word was understood.
        hears: spoken questions without a transcript are sent as sound.

    Raises:
        ItemNotFound: `until` is not there (any more).
    """
    items = conversation.up_to(until)
    texts = [system, *(i.text for i in items if isinstance(i, Typed) and i.role == "system")]
    said = "\n\n".join(text for text in texts if text.strip())
    out = [ChatMessage("system", said)] if said else []
    results = {i.result.call_id: i for i in items if isinstance(i, Returned)}
    at = 0
    while at < len(items):
        item = items[at]
        at += 1
        if isinstance(item, Called):
            calls = [item.call]
            while at < len(items) and isinstance(following := items[at], Called):
                calls.append(following.call)
                at += 1
            out += _round(calls, results)
        else:
            message = _message(item, unheard, hears=hears)
            if message is not None:
                _append(out, message)
    return out


def fitting(shown: Sequence[ChatMessage], tools: Sequence[ToolSpec], max_tokens: int) -> ChatPrompt:
    """Return the messages that fit, the oldest exchanges left out.

    In steps, as `ContextWindow` does it: for many turns the messages only grow at their end, and
    the server's prefix cache stays warm. The system message and what was said last always stay.
    """
    head = 1 if shown and shown[0].role == "system" else 0
    fixed = sum(map(_size, shown[:head])) + sum(map(_tool_size, tools))
    room = max_tokens - fixed
    sizes = [_size(message) for message in shown]
    total = sum(sizes[head:])
    if total <= room:
        return ChatPrompt(tuple(shown))
    starts = [at for at in range(head, len(shown)) if shown[at].role == "user"]
    # What a step freed stays free until the next one: the cut depends on the whole length alone.
    step = max(1, int(room * _KEPT_SHARE))
    to_free = -(-(total - room) // step) * step
    freed, cut = 0, head
    for start in starts:
        freed = sum(sizes[head:start])
        cut = start
        if freed >= to_free:
            break
    return ChatPrompt((*shown[:head], *shown[cut:]), sum(sizes[head:cut]))


def read_tokens(shown: Sequence[ChatMessage], tools: Sequence[ToolSpec]) -> int:
    """Return about how many tokens messages and tools take."""
    return sum(map(_size, shown)) + sum(map(_tool_size, tools))


def text_tokens(text: str) -> int:
    """Return about how many tokens a text takes."""
    return -(-len(text.encode()) // _BYTES_PER_TOKEN)


def _message(item: Item, unheard: str, *, hears: bool) -> ChatMessage | None:
    """Return an item's message, None for one that says nothing."""
    match item:
        case UserAudio(transcript=None, speech=speech) if hears and speech is not None:
            return ChatMessage("user", audio=speech.pcm)
        case UserAudio(transcript=transcript):
            text, role = transcript or unheard, "human"
        case MultiPartMessage():
            return _of_parts(item, unheard, hears=hears)
        case Answer():
            text, role = item.as_written, "assistant"
        case Typed(role=role, text=text):
            pass
        case _:
            return None
    known = _ROLES.get(role)
    return ChatMessage(known, text.strip()) if known and text.strip() else None


def _of_parts(item: MultiPartMessage, unheard: str, *, hears: bool) -> ChatMessage | None:
    """Return the message of several parts: their words in order, and the sound of those without."""
    role = _ROLES.get(item.role)
    texts, sounds = list[str](), list[Pcm]()
    for part in item.parts:
        if isinstance(part, WrittenPart):
            texts.append(part.text.strip())
        elif part.transcript is None and hears and part.speech is not None:
            sounds.append(part.speech.pcm)
        else:
            texts.append((part.transcript or unheard).strip())
    text = " ".join(said for said in texts if said)
    if role is None or not (text or sounds):
        return None
    return ChatMessage(role, text, audio=np.concatenate(sounds) if sounds else None)


def _append(out: list[ChatMessage], message: ChatMessage) -> None:
    """Add a message; words of the one who spoke last join theirs."""
    last = out[-1] if out else None
    plain = message.audio is None and not message.calls and last is not None and last.audio is None
    if last is not None and plain and last.role == message.role and not last.calls:
        out[-1] = replace(last, text=f"{last.text}\n{message.text}")
    else:
        out.append(message)


def _round(calls: list[ToolCall], results: dict[str, Returned]) -> list[ChatMessage]:
    """Return calls that were made at once and have their results, and those."""
    answered = [replace(c, arguments=_object(c.arguments)) for c in calls if c.call_id in results]
    if not answered:
        return []
    told = [
        ChatMessage("tool", results[call.call_id].result.output, call_id=call.call_id)
        for call in answered
    ]
    return [ChatMessage("assistant", calls=tuple(answered)), *told]


def _object(arguments: str) -> str:
    """Return arguments as the text of a JSON object: chat templates parse it."""
    return arguments if is_object(arguments) else "{}"


def _size(message: ChatMessage) -> int:
    sound = 0 if message.audio is None else np.size(message.audio) / 16_000 * _AUDIO_TOKENS_PER_S
    calls = sum(text_tokens(call.name + call.arguments) for call in message.calls)
    return _MESSAGE_TOKENS + text_tokens(message.text) + calls + int(sound)


def _tool_size(tool: ToolSpec) -> int:
    return text_tokens(f"{tool.name}{tool.description}{json.dumps(tool.parameters)}")
