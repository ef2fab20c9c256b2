"""How a checkpoint writes tools: which are there, that one is called, what went wrong. Pure.

`nano`: no list of tools, a call is `NAME ARGUMENTS` after a marker id, errors are one fixed text:
what nano was trained with. `json_schemas`: the published models' form, a turn of the role
`tool_json_schemas` in front, calls between tags in the text, results of the role `input`, or
`function_output`. Calls are also read in the form of a JSON object between the same tags, as other
models write them. Sources: a maintainer in issue 31 of stepfun-ai/Step-Audio for the role of the
schemas; the Step-Audio 2 models' published examples for calls and results.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from step_audio.core import toolformat
from step_audio.core.errors import InputError, ToolError
from step_audio.core.ports import ToolSpec
from step_audio.core.types import Role

CALL_OPEN: Final = "<tool_call>"
CALL_CLOSE: Final = "</tool_call>"
MAX_CALL_CHARS: Final = 10_000
UNREADABLE: Final = "(unreadable)"
"""Name of a call that cannot be read: no tool has it, so the model is told that it failed."""
_SHOWN_CHARS: Final = 500


@dataclass(frozen=True, slots=True)
class WrittenCall:
    """A call as a model wrote it; `arguments` is JSON text, perhaps wrong."""

    name: str
    arguments: str


class ToolSyntax(Protocol):
    """One way to write tools."""

    @property
    def schema_role(self) -> Role | None:
        """Whose turn lists the tools; None: they are not listed."""

    @property
    def result_role(self) -> Role: ...
    @property
    def calls_in_text(self) -> bool:
        """Whether calls stand in the text of a turn, several of them too, instead of behind a
        marker id."""

    def list_tools(self, specs: Sequence[ToolSpec]) -> str:
        """Return the text of the turn that lists tools."""

    def write(self, name: str, arguments: str) -> str:
        """Return the text of a call."""

    def open_call(self, name: str | None) -> str:
        """Return how the text of a call begins, up to its arguments or, without, its name."""

    def read(self, text: str) -> WrittenCall | None:
        """Return the call that `write` wrote, None when `text` is none."""

    def failure(self, error: ToolError) -> str:
        """Return what a result says of an error."""


class MarkerSyntax:
    """As nano was trained."""

    schema_role: Role | None = None
    result_role: Role = "tool"
    calls_in_text = False

    def list_tools(self, specs: Sequence[ToolSpec]) -> str:
        """Return nothing: nano knows its tools by heart."""
        return ""

    def write(self, name: str, arguments: str) -> str:
        """Return `NAME ARGUMENTS`; the marker in front is an id, not text."""
        return f"{name} {arguments}"

    def open_call(self, name: str | None) -> str:
        """Return nothing but the name: the marker in front is an id, not text."""
        return f"{name} " if name else ""

    def read(self, text: str) -> WrittenCall | None:
        """Return the call in what follows the marker."""
        name, _, arguments = text.strip().partition(" ")
        return WrittenCall(name, arguments.strip() or "{}") if name else None

    def failure(self, error: ToolError) -> str:
        """Return the one text of its training."""
        return toolformat.FAILED


class JsonSchemaSyntax:
    """As the published models were."""

    schema_role: Role | None = "tool_json_schemas"
    calls_in_text = True

    def __init__(self, result_role: Role = "input") -> None:
        """Args: `result_role` is whose turn a result is; none is published for Step-Audio-Chat."""
        self.result_role: Role = result_role

    def list_tools(self, specs: Sequence[ToolSpec]) -> str:
        """Return the tools as the JSON list that OpenAI clients send."""
        tools = [
            {
                "type": "function",
                "function": {
                    "name": spec.name,
                    "description": spec.description,
                    "parameters": spec.parameters,
                },
            }
            for spec in specs
        ]
        return json.dumps(tools, ensure_ascii=False)

    def write(self, name: str, arguments: str) -> str:
        """Return the call between its tags."""
        return f"{self.open_call(name)}{arguments}{CALL_CLOSE}"

    def open_call(self, name: str | None) -> str:
        """Return the call's tag and what stands in front of its name or of its arguments."""
        return f"{CALL_OPEN}function\n" + (f"{name}\n" if name else "")

    def read(self, text: str) -> WrittenCall | None:
        """Return the call between tags; the closing one may be missing at the end of a turn."""
        body = text.strip()
        if not body.startswith(CALL_OPEN):
            return None
        body = body.removeprefix(CALL_OPEN).removesuffix(CALL_CLOSE).strip()
        if body.startswith("{"):
            return _object_call(body)
        kind, _, rest = body.partition("\n")
        name, _, arguments = rest.strip().partition("\n")
        if kind.strip() != "function" or not name.strip():
            return None
        return WrittenCall(name.strip(), arguments.strip() or "{}")

    def failure(self, error: ToolError) -> str:
        """Return what went wrong, in words."""
        return toolformat.compact(error=str(error))


class CallFinder:
    """Stage[str, str | WrittenCall]: calls between tags out of streaming text.

    Text passes as soon as it cannot be the beginning of a tag any more. What stands between tags
    is never text: what cannot be read is a call of `UNREADABLE`. A closing tag alone is dropped.
    """

    def __init__(self, dialect: ToolSyntax) -> None:
        self._dialect = dialect
        self._held = ""

    @property
    def holding(self) -> bool:
        """Whether the newest text is, or may become, a call."""
        return bool(self._held)

    def push(self, piece: str, /) -> list[str | WrittenCall]:
        """Take a piece of text, cut anywhere."""
        self._held += piece
        out: list[str | WrittenCall] = []
        while self._held:
            self._held = self._held.removeprefix(CALL_CLOSE)
            at, stray = self._held.find(CALL_OPEN), self._held.find(CALL_CLOSE)
            if 0 <= stray < at or at < 0 <= stray:
                out.append(self._held[:stray])
                self._held = self._held[stray:]
                continue
            if at < 0:
                keep = max(_overlap(self._held, tag) for tag in (CALL_OPEN, CALL_CLOSE))
                out.append(self._held[: len(self._held) - keep])
                self._held = self._held[len(self._held) - keep :]
                break
            out.append(self._held[:at])
            self._held = self._held[at:]
            end = self._held.find(CALL_CLOSE)
            if end < 0:
                if len(self._held) > MAX_CALL_CHARS:
                    raise ToolError(f"a tool call of more than {MAX_CALL_CHARS} characters")
                break
            end += len(CALL_CLOSE)
            out.append(self._call(self._held[:end]))
            self._held = self._held[end:]
        return [found for found in out if found]

    def flush(self) -> list[str | WrittenCall]:
        """Return what is left; a call that was never closed counts, half a tag is dropped."""
        held, self._held = self._held, ""
        if held.startswith(CALL_OPEN):
            return [self._call(held)]
        return [held] if held and not _is_half_tag(held) else []

    def _call(self, text: str) -> WrittenCall:
        body = text.removeprefix(CALL_OPEN).removesuffix(CALL_CLOSE).strip()
        return self._dialect.read(text) or WrittenCall(UNREADABLE, body[:_SHOWN_CHARS])


def _object_call(body: str) -> WrittenCall | None:
    """Return the call in a JSON object of name and arguments."""
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        return None
    name, arguments = values.get("name"), values.get("arguments", {})
    if not isinstance(name, str) or not name.strip():
        return None
    if isinstance(arguments, str):  # JSON text in JSON text
        return WrittenCall(name.strip(), arguments.strip() or "{}")
    return WrittenCall(name.strip(), json.dumps(arguments, ensure_ascii=False))


def _is_half_tag(text: str) -> bool:
    """Return whether text can hardly be anything but the beginning of a tag."""
    return text.startswith(("<tool_", "</tool_"))


def _overlap(text: str, tag: str) -> int:
    """Return how many characters at the end of `text` may begin `tag`."""
    longest = min(len(text), len(tag) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(tag[:n])), 0)


def tool_syntax_of(name: str, result_role: Role = "input") -> ToolSyntax:
    """Return a dialect by its name in the profile. Raises InputError."""
    if name == "nano":
        return MarkerSyntax()
    if name == "json_schemas":
        return JsonSchemaSyntax(result_role)
    raise InputError(f"unknown dialect {name!r}; known: nano, json_schemas")
