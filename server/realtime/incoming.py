"""Wire items -> domain items. Pure."""

from __future__ import annotations

from typing import Final

from server.errors import RequestError
from server.realtime import events as wire
from step_audio.core.types import Role, ToolCall, ToolResult
from step_audio.dialog.conversation import Called, Conversation, Item, Returned, Typed
from step_audio.dialog.session import new_id

_ROLES: Final[dict[str, Role]] = {"user": "human", "assistant": "assistant", "system": "system"}


def domain_item(item: wire.ClientItem, item_id: str, conversation: Conversation) -> Item:
    """Return the item a client wants added; messages by their words.

    Raises:
        RequestError: a message without words, or the output of a call nobody made.
    """
    match item:
        case wire.MessageItem():
            words = [part.text or part.transcript or "" for part in item.content]
            text = "\n".join(word for word in words if word)
            if not text.strip():
                raise RequestError("the message holds no text", param="item.content")
            return Typed(item_id, _ROLES[item.role], text)
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
                param="item.call_id",
            )
