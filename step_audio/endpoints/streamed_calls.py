"""Tool calls out of the fragments in which chat servers stream them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from step_audio.core.errors import EngineLost
from step_audio.core.types import ToolCall

_MOST_CALLS: Final = 32
_MOST_CHARS: Final = 100_000


@dataclass(slots=True)
class _Fragments:
    call_id: str
    index: int | None
    name: str = ""
    arguments: str = ""


class StreamedCalls:
    """The calls of one answer, joined by their index.

    A fragment without an index belongs to the newest call. One with an id of its own begins a
    call, even where servers number all of them 0 (Gemini's endpoint, older Ollamas).

    Args:
        new_call_id: for servers that give none.
        where: the server, for errors.
    """

    def __init__(self, new_call_id: Callable[[], str], where: str) -> None:
        self._new_call_id, self._where = new_call_id, where
        self._calls: list[_Fragments] = []

    def push(self, fragments: object) -> None:
        """Take what a delta has at `tool_calls`. Raises EngineLost: too many, or too long."""
        for fragment in fragments if isinstance(fragments, list) else ():
            if isinstance(fragment, dict):
                self._take(fragment)

    def flush(self) -> list[ToolCall]:
        """Return the calls; empty arguments are those of a call without any."""
        calls, self._calls = self._calls, []
        return [
            ToolCall(call.call_id or self._new_call_id(), call.name, call.arguments.strip() or "{}")
            for call in calls
            if call.name
        ]

    def _take(self, fragment: dict[str, Any]) -> None:
        call = self._of(fragment)
        function = fragment.get("function")
        if not isinstance(function, dict):
            return
        name, arguments = function.get("name"), function.get("arguments")
        if isinstance(name, str) and not call.name:
            call.name = name.strip()
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments, ensure_ascii=False)
        if isinstance(arguments, str):
            call.arguments += arguments
        if len(call.arguments) > _MOST_CHARS:
            raise EngineLost(self._where, f"a tool call of more than {_MOST_CHARS} characters")

    def _of(self, fragment: dict[str, Any]) -> _Fragments:
        given, index = fragment.get("id"), fragment.get("index")
        call_id = given if isinstance(given, str) else ""
        index = index if isinstance(index, int) else None
        for call in reversed(self._calls):
            same = index is None or call.index == index
            if same and (not call_id or not call.call_id or call.call_id == call_id):
                call.call_id = call.call_id or call_id
                return call
            if index is None:
                break  # of another id: a new call
        if len(self._calls) >= _MOST_CALLS:
            raise EngineLost(self._where, f"more than {_MOST_CALLS} tool calls at once")
        self._calls.append(_Fragments(call_id, index))
        return self._calls[-1]
