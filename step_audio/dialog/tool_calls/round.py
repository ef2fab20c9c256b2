"""How the tool calls of an answer stand in the conversation, and where its words do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from step_audio.core.toolformat import is_object
from step_audio.core.types import TextDelta, ToolCall, ToolResult
from step_audio.dialog.prompting.conversation import (
    ROOT,
    Answer,
    Called,
    Conversation,
    Returned,
    call_item_id,
)


class ToolRound:
    """The calls of one turn in the conversation: made, answered, or put off."""

    def __init__(
        self,
        conversation: Conversation,
        calls: Sequence[ToolCall],
        client_tools: frozenset[str],
        tail: str | None,
    ) -> None:
        self.calls = tuple(calls)
        self.internal: list[ToolCall] = []
        self.results = 0
        self._conversation = self.conversation = conversation
        self._tail = [tail]
        for call in calls:
            # A client could do nothing with broken arguments; the model may call again.
            internal = call.name not in client_tools or not is_object(call.arguments)
            self._add(Called(call_item_id(call.call_id), call, internal))
            if internal:
                self.internal.append(call)

    @property
    def tail(self) -> str | None:
        """Id of the last item of the work, or of what was there before."""
        return self._tail[-1]

    def said(self, answer: Answer) -> None:
        """Let the answer begin behind the calls, if it has not yet begun."""
        if not answer.started:
            self._conversation.add(answer, after=self.tail or ROOT)

    def returned(self, result: ToolResult) -> ToolResult:
        """Note a result behind the calls, in front of what was said meanwhile."""
        self._add(Returned(f"{call_item_id(result.call_id)}_output", result, internal=True))
        self.results += 1
        return result

    def put_off(self, call: ToolCall) -> None:
        """Forget a call: it is made again, in the books, when its result is there."""
        item_id = call_item_id(call.call_id)
        self._tail.remove(item_id)
        if self._conversation.has(item_id):
            self._conversation.delete(item_id)

    def _add(self, item: Called | Returned) -> None:
        self._conversation.add(item, after=self.tail or ROOT)
        self._tail.append(item.item_id)


def apart(words: TextDelta, answer: Answer) -> TextDelta:
    """Return the first words after a call apart from those in front of it."""
    glued = "!" <= answer.text[-1:] <= "~" and not words.text[:1].isspace()
    return replace(words, text=f" {words.text}") if glued else words


def behind(answer: Answer, tail: str | None, conversation: Conversation) -> str | None:
    """Put an answer that began before its calls behind them; return what is last now."""
    if tail is None or tail == answer.item_id or not conversation.has(answer.item_id):
        return tail
    conversation.move(answer.item_id, tail)
    return answer.item_id
