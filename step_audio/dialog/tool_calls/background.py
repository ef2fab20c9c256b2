"""Tool calls under way in one conversation, and what comes of them later.

A call is sent and waited for a while; what takes longer is deferred, and its result is news when
it comes. News is told when nobody speaks: the session takes it, nothing pushes it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from step_audio.core.cancellation import asked_to_stop
from step_audio.core.errors import ToolError, ToolLate
from step_audio.core.ports import Clock, Recorder, ToolBox
from step_audio.core.toolformat import is_object
from step_audio.core.types import ToolCall, ToolResult
from step_audio.dialog.prompting.conversation import Called, Conversation, Returned, call_item_id
from step_audio.dialog.prompting.tool_syntax import UNREADABLE

_LOG = logging.getLogger(__name__)

MAX_OPEN: Final = 32
_CLOSE_S: Final = 5.0
"""So long a tool that was told to stop is waited for."""


@dataclass(frozen=True, slots=True)
class BackgroundCallSettings:
    """How calls and the conversation go together.

    Attributes:
        bridge: what is said when a call takes longer than `bridge_after_s`; "" for nothing.
        wait_s: so long an answer waits for its calls; None: until they end.
        bridges: the same as `bridge` in more languages, by their ISO 639-1 codes.
    """

    bridge: str = "One moment."
    bridge_after_s: float = 1.0
    wait_s: float | None = 4.0
    bridges: Mapping[str, str] = field(default_factory=dict)

    def bridge_in(self, language: str | None) -> str:
        """Return what is said meanwhile in a language; None: it is not known."""
        return self.bridge if language is None else self.bridges.get(language, self.bridge)


PATIENT: Final = BackgroundCallSettings(bridge="", wait_s=None)
"""For a single question without a session: there is no later."""


@dataclass(frozen=True, slots=True)
class LateResult:
    """A result that came after its answer had ended."""

    call: ToolCall
    result: ToolResult


@dataclass(frozen=True, slots=True)
class Announcement:
    """Something to be said at its time, such as that a timer is over."""

    text: str


News = LateResult | Announcement


class BackgroundCalls:
    """The calls of one conversation. Errors become results that the model can read."""

    def __init__(
        self,
        tools: ToolBox,
        recorder: Recorder,
        clock: Clock,
        failure: Callable[[ToolError], str],
        *,
        settings: BackgroundCallSettings = PATIENT,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """Args: `failure` writes an error for the model; `wake` is called when there is news."""
        self.settings = settings
        self._tools, self._recorder, self._clock = tools, recorder, clock
        self._failure = failure
        self._wake = wake
        self._tasks: set[asyncio.Task[ToolResult]] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self._news: deque[News] = deque()

    @property
    def open(self) -> int:
        """Calls and announcements that are still to come, and news not yet taken."""
        return len(self._tasks) + len(self._timers) + len(self._news)

    def send(self, call: ToolCall) -> asyncio.Task[ToolResult]:
        """Begin a call. The task ends with a result whatever happens, unless it is cancelled."""
        full = self.open >= MAX_OPEN
        task = asyncio.create_task(self._carry_out(call, full=full), name="tool")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def settled(
        self, tasks: Collection[asyncio.Task[ToolResult]], within_s: float | None
    ) -> bool:
        """Wait for calls; return whether all have ended in time. Cancelling leaves them going."""
        if not tasks:
            return True
        _, pending = await asyncio.wait(tasks, timeout=within_s)
        return not pending

    def defer(self, call: ToolCall, task: asyncio.Task[ToolResult]) -> None:
        """Let a call's result be news when it comes."""

        def tell(done: asyncio.Task[ToolResult]) -> None:
            if not done.cancelled():
                self._tell(LateResult(call, done.result()))

        task.add_done_callback(tell)

    @property
    def news(self) -> int:
        """How much news waits to be taken."""
        return len(self._news)

    def take(self) -> News | None:
        """Return the oldest news, None without any."""
        return self._news.popleft() if self._news else None

    async def close(self) -> None:
        """Drop everything."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._news.clear()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=_CLOSE_S)
            if stuck:
                _LOG.warning("tools do not stop", extra={"calls": len(stuck)})

    async def _carry_out(self, call: ToolCall, *, full: bool) -> ToolResult:
        start_s, end = self._clock.now_s(), "cancelled"
        try:
            if full:
                raise ToolError(f"{MAX_OPEN} calls and timers are open; wait for one")
            if call.name != UNREADABLE and not is_object(call.arguments):
                raise ToolError(f"{call.name}: the arguments are not a JSON object; call again")
            result = await self._tools.call(call)
            end = "done"
        except ToolError as error:
            end = "late" if isinstance(error, ToolLate) else "failed"
            result = ToolResult(call.call_id, call.name, self._failure(error))
        except asyncio.CancelledError:
            if asked_to_stop():
                raise
            end, result = "failed", self._broken(call)
        except Exception:
            end, result = "failed", self._broken(call)
        finally:
            self._recorder.observe(f"tool_calls.{end}", 1)
            self._recorder.observe("tool_s", self._clock.now_s() - start_s)
        if result.after_s is not None:
            self._announce(result.after_s, result.announcement)
        return result

    def _broken(self, call: ToolCall) -> ToolResult:
        """Return what the model is told of a tool that raised what it should not."""
        _LOG.exception("tool broke", extra={"tool": call.name})
        return ToolResult(call.call_id, call.name, self._failure(ToolError("the tool broke off")))

    def _announce(self, after_s: float, text: str) -> None:
        def ring() -> None:
            self._timers.discard(timer)
            self._tell(Announcement(text))

        timer = asyncio.get_running_loop().call_later(after_s, ring)
        self._timers.add(timer)

    def _tell(self, news: News) -> None:
        self._news.append(news)
        self._wake()


def note(news: News, conversation: Conversation) -> str | None:
    """Write news into a conversation; return what is to be said word for word, if anything.

    Raises:
        Overloaded: the conversation is full.
    """
    if isinstance(news, Announcement):
        return news.text
    item_id = call_item_id(news.call.call_id)
    conversation.add(Called(item_id, news.call, internal=True))
    conversation.add(Returned(f"{item_id}_output", news.result, internal=True))
    return None
