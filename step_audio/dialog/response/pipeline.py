"""One answer on its way from ids to sound: a reader and a vocoder side by side."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from step_audio.core.cancellation import asked_to_stop
from step_audio.core.delivery import open_delivery
from step_audio.core.errors import PartFailed, StepAudioError
from step_audio.core.ports import Services, Stage, Vocoder
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
    VoiceChange,
)
from step_audio.dialog.response.responder import Response
from step_audio.dialog.response.start_delay import WritingPace, start_delay_s
from step_audio.dialog.workers import WorkerThreads

_LOG = logging.getLogger(__name__)


AnswerEvent = Transcript | Reasoning | TextDelta | ToolCall | ToolResult | AudioChunk


class _Delivered:
    """Groups through a vocoder, its sound faster or louder."""

    def __init__(self, vocoder: Stage[TokenGroup, Pcm], delivery: Stage[Pcm, Pcm]) -> None:
        self._vocoder, self._delivery = vocoder, delivery

    def push(self, group: TokenGroup, /) -> list[Pcm]:
        return [out for pcm in self._vocoder.push(group) for out in self._delivery.push(pcm)]

    def flush(self) -> list[Pcm]:
        late = [out for pcm in self._vocoder.flush() for out in self._delivery.push(pcm)]
        return [*late, *self._delivery.flush()]


@dataclass(frozen=True, slots=True)
class _End:
    """Last entry of the outgoing queue."""

    error: StepAudioError | None = None


class ResponsePipeline:
    """One answer under way: reader and vocoder side by side, joined by bounded queues."""

    def __init__(
        self,
        response: AsyncGenerator[Response, None] | AsyncGenerator[TokenGroup | AudioChunk, None],
        services: Services,
        begin: VoiceChange | None,
        speech_output: WorkerThreads,
        priority: int = LIVE,
        *,
        seed: int,
    ) -> None:
        """Args: `begin` is None for an answer without sound; `seed` is of the vocoder's noise."""
        self._response = response
        self._services = services
        self._begin, self._seed = begin, seed
        self._speech_output, self._priority = speech_output, priority
        self._groups: asyncio.Queue[TokenGroup | VoiceChange | None] = asyncio.Queue(64)
        self._sound: asyncio.Queue[AudioChunk | None] = asyncio.Queue(64)
        self._out: asyncio.Queue[AnswerEvent | _End] = asyncio.Queue(64)
        self._pace = WritingPace()
        self._delay_s, self._delayed = 0.0, False
        self._all_made = asyncio.Event()
        self._held: AudioChunk | None = None

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
                tasks.create_task(named("sound", self._send), name="answer.send")
        except* StepAudioError as group:
            first = group.exceptions[0]
            assert isinstance(first, StepAudioError)  # the group is of our own tasks: flat
            await self._send_held()
            await self._out.put(_End(first))
        else:
            await self._out.put(_End())

    async def _read(self) -> None:
        """Response -> words and sound at once, groups to the vocoder."""
        clock = self._services.clock
        async for event in self._response:
            if isinstance(event, TextDelta | TokenGroup):
                self._pace.wrote(clock.now_s(), group=isinstance(event, TokenGroup))
            if not isinstance(event, TokenGroup | VoiceChange):
                await self._out.put(event)
            elif self._begin is not None:
                await self._groups.put(event)
        await self._groups.put(None)

    async def _speak(self) -> None:
        """Groups -> sound. The vocoder opens while the engine reads the prompt."""
        voice: VoiceChange | None = self._begin
        if self._services.speech_model is None:  # else that makes the sound itself
            while voice is not None:
                voice = await self._speak_in(voice)
        self._all_made.set()
        await self._sound.put(None)

    async def _speak_in(self, voice: VoiceChange) -> VoiceChange | None:
        """Speak until another voice is due, and return it; None at the end."""
        speech_output, priority = self._speech_output, self._priority
        vocoder = self._vocoder(voice)
        stage: Stage[TokenGroup, Pcm] = await speech_output.run(
            lambda: vocoder.open(voice.voice, self._seed), priority
        )
        if voice.speed != 1.0 or voice.volume != 1.0:
            delivery = open_delivery(vocoder.sample_rate_hz, speed=voice.speed, volume=voice.volume)
            stage = _Delivered(stage, delivery)
        while isinstance(item := await self._groups.get(), TokenGroup):
            asked_s = self._services.clock.now_s()
            made = await speech_output.push(stage, item, priority)
            await self._chunks(made, vocoder, asked_s)
        await self._chunks(await speech_output.flush(stage, priority), vocoder)
        return item

    def _vocoder(self, voice: VoiceChange) -> Vocoder:
        services = self._services
        if voice.singing and services.singing_vocoder is not None:
            return services.singing_vocoder
        if voice.manner and services.in_manner is not None:
            return services.in_manner(voice.manner)
        return services.vocoder

    async def _chunks(
        self, made: list[Pcm], vocoder: Vocoder, asked_s: float | None = None
    ) -> None:
        """Pass on what the vocoder made; of the first, it tells how long it waits."""
        chunks = [AudioChunk(pcm, vocoder.sample_rate_hz) for pcm in made if len(pcm)]
        if chunks and asked_s is not None and not self._delayed:
            self._delayed = True
            took_s = self._services.clock.now_s() - asked_s
            self._delay_s = start_delay_s(vocoder.chunks, self._pace, took_s)
            self._services.recorder.observe("start_delay_s", self._delay_s)
        for chunk in chunks:
            await self._sound.put(chunk)

    async def _send_held(self) -> None:
        """Pass on sound that was made and still waited when the answer broke."""
        chunk = self._held
        while chunk is not None:
            await self._out.put(chunk)
            chunk = None if self._sound.empty() else self._sound.get_nowait()

    async def _send(self) -> None:
        """Sound -> out, the first of it when the rest will follow without a gap."""
        chunk = self._held = await self._sound.get()
        if self._delay_s:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._delay_s):
                    await self._all_made.wait()
        self._held = None
        while chunk is not None:
            await self._out.put(chunk)
            chunk = await self._sound.get()


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
