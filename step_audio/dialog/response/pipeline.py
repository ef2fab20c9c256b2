"""One answer on its way from ids to sound: a reader and a vocoder side by side."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from step_audio.core.cancellation import asked_to_stop
from step_audio.core.errors import PartFailed, StepAudioError
from step_audio.core.ports import Vocoder
from step_audio.core.types import (
    LIVE,
    AudioChunk,
    Pcm,
    Reasoning,
    TextDelta,
    TokenGroup,
    ToolCall,
    ToolResult,
    Transcript,
    Voice,
)
from step_audio.dialog.response.responder import Response
from step_audio.dialog.workers import WorkerThreads

_LOG = logging.getLogger(__name__)


AnswerEvent = Transcript | Reasoning | TextDelta | ToolCall | ToolResult | AudioChunk


@dataclass(frozen=True, slots=True)
class _End:
    """Last entry of the outgoing queue."""

    error: StepAudioError | None = None


class ResponsePipeline:
    """One answer under way: reader and vocoder side by side, joined by bounded queues."""

    def __init__(
        self,
        response: AsyncGenerator[Response, None] | AsyncGenerator[TokenGroup | AudioChunk, None],
        vocoder: Vocoder | None,
        voice: Voice | None,
        speech_output: WorkerThreads,
        priority: int = LIVE,
        *,
        seed: int,
    ) -> None:
        """Prepare.

        Args:
            vocoder: None where a speech model makes the sound.
            voice: None for an answer without sound.
            seed: of the vocoder's noise.
        """
        self._response = response
        self._vocoder = vocoder
        self._voice, self._seed = voice, seed
        self._speech_output, self._priority = speech_output, priority
        self._groups: asyncio.Queue[TokenGroup | None] = asyncio.Queue(64)
        self._out: asyncio.Queue[AnswerEvent | _End] = asyncio.Queue(64)

    async def events(self) -> AsyncGenerator[AnswerEvent, None]:
        """Yield what is ready. Closing cancels both tasks, and with them the engine."""
        task = asyncio.create_task(self._work(), name="answer")
        try:
            while not isinstance(event := await self._out.get(), _End):
                yield event
            if event.error is not None:
                raise event.error
        finally:
            task.cancel()
            await asyncio.wait([task])
            await self._response.aclose()

    async def _work(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(named("language model's answer", self._read), name="answer.read")
                tasks.create_task(named("vocoder", self._speak), name="answer.speak")
        except* StepAudioError as group:
            first = group.exceptions[0]
            assert isinstance(first, StepAudioError)  # the group is of our own two tasks: flat
            await self._out.put(_End(first))
        else:
            await self._out.put(_End())

    async def _read(self) -> None:
        """Response -> words and sound at once, groups to the vocoder."""
        async for event in self._response:
            if not isinstance(event, TokenGroup):
                await self._out.put(event)
            elif self._voice is not None:
                await self._groups.put(event)
        await self._groups.put(None)

    async def _speak(self) -> None:
        """Groups -> sound. The vocoder opens while the engine reads the prompt."""
        voice, vocoder = self._voice, self._vocoder
        if voice is None or vocoder is None:
            return
        speech_output, priority = self._speech_output, self._priority
        rate_hz = vocoder.sample_rate_hz
        stage = await speech_output.run(lambda: vocoder.open(voice, self._seed), priority)
        while (group := await self._groups.get()) is not None:
            await self._chunks(await speech_output.push(stage, group, priority), rate_hz)
        await self._chunks(await speech_output.flush(stage, priority), rate_hz)

    async def _chunks(self, chunks: list[Pcm], rate_hz: int) -> None:
        for pcm in chunks:
            if len(pcm):
                await self._out.put(AudioChunk(pcm, rate_hz))


async def named(part: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do a part's work; whatever breaks it is a StepAudioError afterwards.

    Raises:
        StepAudioError: raised by the work. PartFailed: it raised something else, or was cancelled
            from within.
    """
    try:
        await work()
    except StepAudioError:
        raise
    except asyncio.CancelledError as stray:
        # Not ours: a TaskGroup would take the part for ended, and its neighbour wait for ever.
        if asked_to_stop():
            raise
        _LOG.exception("part cancelled from within", extra={"part": part})
        raise PartFailed(part) from stray
    except Exception as error:
        _LOG.exception("part failed", extra={"part": part})
        raise PartFailed(part) from error
