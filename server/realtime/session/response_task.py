"""One answer under way: its events go to the client, or are held back until they may."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

from server.realtime.session.send_queue import SOUND, SendQueue
from server.realtime.wire.response_events import ResponseTranslator
from step_audio.core.cancellation import asked_to_stop
from step_audio.core.errors import PartFailed, StepAudioError
from step_audio.core.types import AudioChunk, TextDelta
from step_audio.dialog.response.pipeline import AnswerEvent

_LOG = logging.getLogger(__name__)

MAX_HELD: Final = 400
"""Events; an answer that has run so far ahead of its release waits."""


class ResponseTask:
    """Runs an answer in a task of its own. What leaves does so through a translator.

    Args:
        send_queue: where events go.
        on_audio: called when the first sound goes to the socket, and again after a `resume`.
        on_end: called after the last event, or with what broke; not when `stop` was called.
        keep: whether what was sent is kept, for `resume`.
    """

    def __init__(
        self,
        send_queue: SendQueue,
        *,
        on_audio: Callable[[ResponseTask], None],
        on_end: Callable[[ResponseTask, StepAudioError | None], None],
        keep: bool = False,
    ) -> None:
        self.translator: ResponseTranslator | None = None
        self._send_queue, self._on_audio, self._on_end = send_queue, on_audio, on_end
        self._keep = keep
        self._held: list[AnswerEvent] = []
        self._sent: list[AudioChunk] = []
        self._begun = asyncio.Event()
        self._open = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._task: asyncio.Task[None] | None = None
        self._silent = True
        self._announced = False
        self._ended = False

    def start(
        self,
        answer: AsyncGenerator[AnswerEvent, None],
        tasks: asyncio.TaskGroup,
        after: ResponseTask | None = None,
    ) -> None:
        """Run `answer`, once the answer before it has let go of the engine."""
        self._task = tasks.create_task(self._run(answer, after), name="response")

    async def begun(self, within_s: float) -> None:
        """Wait until the first event is there, or that there will be none, if not for longer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._begun.wait()

    @property
    def early(self) -> bool:
        """Whether the client has not heard of this answer yet."""
        return not self._announced

    async def released(self) -> None:
        """Wait until the events may leave."""
        await self._open.wait()

    def release(self, translator: ResponseTranslator) -> None:
        """Announce the response and let out what was held, and what comes."""
        self.translator, self._announced = translator, True
        self._send(translator.created())
        held, self._held = self._held, []
        for event in held:
            self._pass(translator, event)
        self._open.set()
        self._room.set()

    def suspend(self) -> None:
        """Hold back what comes from now on. Whoever suspends sends the response's end."""
        self._open.clear()
        if self.translator is not None:
            self._send_queue.silence(self.translator.response_id)
        self.translator = None

    def resume(self, translator: ResponseTranslator, text: str, heard_ms: int) -> None:
        """Release what was not heard, as a response of its own, beginning with its text."""
        sent, self._sent = self._sent, []
        self._held[:0] = [TextDelta(text), *_after(sent, heard_ms)]
        self._silent = True
        self.release(translator)
        if self._ended:
            self._on_end(self, None)

    def stop(self) -> None:
        """Abort; nothing of it leaves any more. Does not wait for the engine to notice."""
        if self.translator is not None:
            self._send_queue.silence(self.translator.response_id)
        self.translator = None
        if self._task is not None:
            self._task.cancel()

    async def stopped(self) -> None:
        """Wait until the task has ended."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(
        self, answer: AsyncGenerator[AnswerEvent, None], after: ResponseTask | None
    ) -> None:
        failure: StepAudioError | None = None
        try:
            async with aclosing(answer) as events:
                if after is not None:
                    await after.stopped()
                async for event in events:
                    await self._send_queue.room()
                    await self._room.wait()
                    self._take(event)
        except StepAudioError as error:
            failure = error
        except asyncio.CancelledError:
            if asked_to_stop():
                raise
            # Raised from within: without an end the turn would wait for this answer for ever.
            _LOG.exception("response cancelled from within")
            failure = PartFailed("response")
        except Exception:
            _LOG.exception("response failed")
            failure = PartFailed("response")
        if failure is None or self._sent:  # else nobody ever heard of this answer
            await self.released()
        self._ended = True
        self._begun.set()
        self._on_end(self, failure)

    def _take(self, event: AnswerEvent) -> None:
        self._begun.set()
        if self.translator is not None:
            self._pass(self.translator, event)
            return
        self._held.append(event)
        if len(self._held) >= MAX_HELD:
            self._room.clear()

    def _pass(self, translator: ResponseTranslator, event: AnswerEvent) -> None:
        first = False
        if isinstance(event, AudioChunk):
            if self._keep:
                self._sent.append(event)
            first, self._silent = self._silent, False
        self._send(translator.on(event), first_sound=first)

    def _send(self, events: list[dict[str, Any]], *, first_sound: bool = False) -> None:
        for event in events:
            # The queue may hold many events in front of it: sound counts from when it is sent.
            heard = first_sound and event["type"] == SOUND
            self._send_queue.send(event, (lambda: self._on_audio(self)) if heard else None)
            first_sound = first_sound and not heard


def _after(chunks: list[AudioChunk], heard_ms: int) -> list[AnswerEvent]:
    """Return the sound after the first `heard_ms`."""
    out: list[AnswerEvent] = []
    for chunk in chunks:
        skip = min(len(chunk.pcm), heard_ms * chunk.rate_hz // 1000)
        heard_ms -= skip * 1000 // chunk.rate_hz
        if skip < len(chunk.pcm):
            out.append(AudioChunk(chunk.pcm[skip:], chunk.rate_hz))
    return out
