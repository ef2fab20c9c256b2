"""Whose cancellation a CancelledError is: asked of this task, or raised inside it by somebody else.

A future that was cancelled inside a library raises CancelledError in whoever waits for it. asyncio
takes that for the end of the waiting task and tells nobody. Code that waits for foreign code asks
here, and turns a stray one into an error.
"""

from __future__ import annotations

import asyncio


def asked_to_stop() -> bool:
    """Return whether the running task was cancelled by `Task.cancel`."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
