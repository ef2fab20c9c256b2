"""Whether an answer calls a tool, as a client decides it: what its request says. Pure.

A model whose calls stand behind a marker id is held to it by the grammar. One whose calls stand
in its text finds the beginning of the call written already, and writes the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from step_audio.core.types import CallRule
from step_audio.dialog.prompting.tool_syntax import ToolSyntax

_ARGUMENTS: Final = (' {"', " {}")
"""What follows a name behind a marker: arguments, or none."""


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """auto: the model decides. none: no call. required: one of `names`, or of all tools."""

    kind: Literal["auto", "none", "required"] = "auto"
    names: tuple[str, ...] = ()

    @property
    def forbids(self) -> bool:
        """Whether nothing may be called."""
        return self.kind == "none"

    @property
    def requires(self) -> bool:
        """Whether something has to be called."""
        return self.kind == "required"

    def among(self, client_tools: Sequence[str], own_tools: Sequence[str]) -> ToolChoice:
        """Return what it means where these tools are: the client's go before the server's.

        A call that nobody could make is not required.
        """
        if not self.requires:
            return self
        known = {*client_tools, *own_tools}
        wanted = self.names or client_tools or own_tools
        names = tuple(name for name in wanted if name in known)
        return ToolChoice("required", names) if names else FREE

    def rule(self, text: Callable[[str], Sequence[int]]) -> CallRule | None:
        """Return the rule for an engine; `text` returns the ids of text behind a marker."""
        if self.kind == "auto":
            return None
        openings = [tuple(text(name + rest)) for name in self.names for rest in _ARGUMENTS]
        return CallRule(self.requires, tuple(openings))

    def opening(self, dialect: ToolSyntax) -> str:
        """Return the text with which a turn begins where calls stand in the text."""
        if not self.requires:
            return ""
        return dialect.open_call(self.names[0] if len(self.names) == 1 else None)


FREE: Final = ToolChoice()
NO_TOOLS: Final = ToolChoice("none")
