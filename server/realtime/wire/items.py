"""Conversation items between the wire and the domain, both ways. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from server.http.errors import RequestError
from server.realtime.wire import client_events as wire
from step_audio.core.types import Role, ToolCall, ToolResult
from step_audio.dialog.ids import new_id
from step_audio.dialog.prompting.conversation import (
    Answer,
    Called,
    Conversation,
    Item,
    MultiPartMessage,
    Returned,
    SpokenPart,
    Typed,
    UserAudio,
    WrittenPart,
)
from step_audio.dialog.turns.utterance import SpokenQuestion

_INWARD: Final[dict[str, Role]] = {"user": "human", "assistant": "assistant", "system": "system"}
_OUTWARD: Final = {"human": "user", "tool": "user"}
_SOUNDS: Final = ("input_audio", "output_audio", "audio")


def wire_item(item: Item, status: str = "completed") -> dict[str, Any]:
    """Return an item as clients see it; sound is never sent back in items."""
    base = {"id": item.item_id, "object": "realtime.item", "status": status}
    match item:
        case UserAudio():
            # Null until it is known: JavaScript clients refuse an item without the key.
            part = {"type": "input_audio", "transcript": item.transcript}
            return {**base, "type": "message", "role": "user", "content": [part]}
        case Typed():
            kind = "output_text" if item.role == "assistant" else "input_text"
            content = [{"type": kind, "text": item.text}]
            role = _OUTWARD.get(item.role, item.role)
            return {**base, "type": "message", "role": role, "content": content}
        case MultiPartMessage():
            role = _OUTWARD.get(item.role, item.role)
            content = [_wire_part(part, assistant=role == "assistant") for part in item.parts]
            return {**base, "type": "message", "role": role, "content": content}
        case Answer():
            kind, key = ("output_audio", "transcript") if item.groups else ("output_text", "text")
            content = [{"type": kind, key: item.text}]
            return {**base, "type": "message", "role": "assistant", "content": content}
        case Called():
            call = item.call
            facts = {"call_id": call.call_id, "name": call.name, "arguments": call.arguments}
            return {**base, "type": "function_call", **facts}
        case Returned():
            result = item.result
            facts = {"call_id": result.call_id, "output": result.output}
            return {**base, "type": "function_call_output", **facts}


def _wire_part(part: WrittenPart | SpokenPart, *, assistant: bool) -> dict[str, Any]:
    side = "output" if assistant else "input"
    if isinstance(part, SpokenPart):
        return {"type": f"{side}_audio", "transcript": part.transcript}
    if part.spoken:
        return {"type": f"{side}_audio", "transcript": part.text}
    return {"type": f"{side}_text", "text": part.text}


def shown_before(conversation: Conversation, item_id: str) -> str | None:
    """Return the id of the item before `item_id` that clients know of, None at the front."""
    before: str | None = None
    for item in conversation:
        if item.item_id == item_id:
            return before
        if not (isinstance(item, Called | Returned) and item.internal):
            before = item.item_id
    return before


def item_events(conversation: Conversation, item: Item) -> list[dict[str, Any]]:
    """Return the two events that tell of a new, complete item."""
    facts = {
        "item": wire_item(item),
        "previous_item_id": shown_before(conversation, item.item_id),
    }
    return [
        {"type": "conversation.item.added", **facts},
        {"type": "conversation.item.done", **facts},
    ]


def message(
    given: wire.MessageItem,
    item_id: str,
    sounds: Sequence[SpokenQuestion],
    where: str = "item",
) -> Item:
    """Return a client's message, all its parts in order.

    Args:
        given: as it came.
        item_id: of the item.
        sounds: its parts with sound, in order.
        where: its place in the client's event.

    Raises:
        RequestError: too many words.
    """
    if sum(len(part.words) for part in given.content) > wire.MAX_TEXT_CHARS:
        raise RequestError(
            f"a message may hold {wire.MAX_TEXT_CHARS} characters", param=f"{where}.content"
        )
    left, parts = iter(sounds), list[WrittenPart | SpokenPart]()
    for part in given.content:
        if has_sound(given, part):
            sound = next(left)
            parts.append(SpokenPart(sound.groups, part.transcript, sound.speech))
        else:
            spoken = part.type in _SOUNDS and part.text is None
            parts.append(WrittenPart(part.words, spoken))
    match parts:
        case [SpokenPart(groups, transcript, speech)]:
            return UserAudio(item_id, groups, transcript, speech=speech)
        case [WrittenPart(text, False)] if text.strip():
            return Typed(item_id, _INWARD[given.role], text)
        case _:
            return MultiPartMessage(item_id, _INWARD[given.role], tuple(parts))


def has_sound(given: wire.MessageItem, part: wire.ContentPart) -> bool:
    """Return whether a part of a message is sound to be heard: only the user's is."""
    return given.role == "user" and bool(part.audio)


def domain_item(
    item: wire.FunctionCallItem | wire.FunctionOutputItem,
    item_id: str,
    conversation: Conversation,
    where: str = "item",
) -> Item:
    """Return a call or its result as a client wants it added.

    Raises:
        RequestError: the output of a call nobody made.
    """
    match item:
        case wire.FunctionCallItem():
            call_id = item.call_id or f"call_{new_id()}"
            return Called(item_id, ToolCall(call_id, item.name, item.arguments))
        case wire.FunctionOutputItem():
            for known in conversation:
                if isinstance(known, Called) and known.call.call_id == item.call_id:
                    result = ToolResult(item.call_id, known.call.name, item.output)
                    return Returned(item_id, result)
            raise RequestError(
                f"no call {item.call_id!r} in this conversation",
                code="invalid_call_id",
                param=f"{where}.call_id",
            )
