"""Several tool boxes as one, each call under a time limit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from step_audio.core.errors import ToolError, ToolLate
from step_audio.core.ports import RemoteTools, ToolBox, ToolSpec
from step_audio.core.types import ToolCall, ToolResult
from step_audio.tools.arguments import check_arguments

_LOG = logging.getLogger(__name__)


class ToolBoxes:
    """A `ToolBox` of boxes. Of two tools with one name, the first box's is called."""

    def __init__(self, boxes: Sequence[ToolBox], *, timeout_s: float = 15.0) -> None:
        self._boxes = tuple(boxes)
        self._timeout_s = timeout_s

    async def start(self) -> None:
        """Reach all remote boxes, side by side."""
        await asyncio.gather(*(box.start() for box in self._boxes if isinstance(box, RemoteTools)))

    async def aclose(self) -> None:
        """Leave all remote boxes."""
        await asyncio.gather(*(box.aclose() for box in self._boxes if isinstance(box, RemoteTools)))

    def specs(self) -> Sequence[ToolSpec]:
        """Return the tools in a fixed order, each name once."""
        found: dict[str, ToolSpec] = {}
        for box in self._boxes:
            for spec in box.specs():
                found.setdefault(spec.name, spec)
        return tuple(found.values())

    async def call(self, call: ToolCall) -> ToolResult:
        """Carry out a call. Raises ToolError: whatever went wrong, time included."""
        try:
            async with asyncio.timeout(self._timeout_s):
                box = self._box(call.name)
                if isinstance(box, RemoteTools):
                    self._check(box, call)
                return await box.call(call)
        except TimeoutError:
            raise ToolLate(f"{call.name[:40]} took longer than {self._timeout_s:g} s") from None
        except ToolError:
            raise
        except Exception as broken:
            _LOG.exception("tool broke", extra={"tool": call.name[:40]})
            raise ToolError(f"{call.name[:40]} broke") from broken

    def _check(self, box: ToolBox, call: ToolCall) -> None:
        """Check a call of somebody else's tool before it goes there; ours check their own."""
        for spec in box.specs():
            if spec.name == call.name:
                check_arguments(spec, call.arguments)

    def _box(self, name: str) -> ToolBox:
        for box in self._boxes:
            if any(spec.name == name for spec in box.specs()):
                return box
        for box in self._boxes:
            if isinstance(box, RemoteTools) and not box.specs():
                return box  # away so far; it is reached now, and refuses what it lacks
        known = ", ".join(spec.name for spec in self.specs())
        raise ToolError(f"unknown tool {name[:40]!r}; known: {known or 'none'}")
