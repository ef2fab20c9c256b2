"""Calls out of the text of a turn, and with them the sound that may speak them.

For dialects whose calls stand in the text. Nothing of a call is shown or spoken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from step_audio.core.types import GROUP_MS, TextDelta, TokenGroup, ToolCall
from step_audio.dialog.prompting.tool_syntax import CallFinder, ToolSyntax, WrittenCall
from step_audio.dialog.response.degeneration import speaking_s
from step_audio.dialog.response.parser import Parsed

_SLOWER: Final = 1.5
"""Sound trails its words: beside a call it may go on for so many times their usual length."""


class CallFilter:
    """Stage[Parsed, Parsed]: what a parser made of a turn, with the calls taken out of its text.

    White space around calls is dropped, as is sound beside them beyond that of the words in front.
    Words behind a call would be said without its result: they are dropped, and end the turn.
    """

    def __init__(self, dialect: ToolSyntax, new_call_id: Callable[[], str]) -> None:
        self._finder = CallFinder(dialect)
        self._new_call_id = new_call_id
        self._space = ""  # that may turn out to stand around a call
        self._said = self._called = False
        self._words_s = self._sound_s = 0.0
        self.over = False
        """Whether all calls of the turn are known: nothing more is to come of it."""

    def push(self, event: Parsed, /) -> list[Parsed]:
        """Take what the parser made of an id. Raises ToolError: a call without end."""
        if isinstance(event, TextDelta):
            return self._sorted(self._finder.push(event.text))
        if isinstance(event, TokenGroup):
            return self._sound(event)
        return [event]

    def flush(self) -> list[Parsed]:
        """End the turn; an open call ends with it."""
        out = self._sorted(self._finder.flush())
        if self._space and self._said and not self._called:
            out.append(TextDelta(self._space))
        return out

    def _sorted(self, found: list[str | WrittenCall]) -> list[Parsed]:
        out: list[Parsed] = []
        for item in found:
            if isinstance(item, WrittenCall):
                self._called, self._space = True, ""
                out.append(ToolCall(self._new_call_id(), item.name, item.arguments))
                continue
            if self._called:
                if item.strip():
                    self.over = True
                    break
                continue
            text = self._space + item
            words = text.rstrip()
            self._space = text[len(words) :]
            if not words:
                continue
            self._said = True
            self._words_s += speaking_s(words)
            out.append(TextDelta(words))
        return out

    def _sound(self, group: TokenGroup) -> list[Parsed]:
        sound_s = self._sound_s + GROUP_MS / 1000
        beside = self._called or self._finder.holding
        if beside and sound_s > _SLOWER * self._words_s:
            return []
        self._sound_s = sound_s
        return [group]
