"""Server-sent events, as OpenAI's clients read them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from server.http.errors import error_body
from step_audio.core.errors import StepAudioError


def sse(event: dict[str, Any]) -> bytes:
    """Return one server-sent event."""
    return b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"


async def with_error(events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Pass events on; an error behind the first of them is told as the last one.

    Before the first event it is raised: there is still time for a status.
    """
    started = False
    try:
        async with aclosing(events):
            async for event in events:
                yield event
                started = True
    except StepAudioError as error:
        if not started:
            raise
        yield sse({"type": "error", **error_body(str(error), kind="server_error", code=error.code)})
