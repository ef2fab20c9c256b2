"""Parts that break: the answer ends, and says which part it was."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Iterable
from dataclasses import replace

import numpy as np
import pytest

from step_audio.core.errors import EngineError, PartFailed, StepAudioError
from step_audio.core.ports import ChunkSizes, Stage, Vocoder
from step_audio.core.types import AudioChunk, Pcm, TextDelta, TokenGroup, Voice, VoiceChange
from step_audio.dialog.response.pipeline import AnswerEvent, ResponsePipeline
from step_audio.dialog.response.responder import Response
from step_audio.dialog.workers import WorkerThreads
from step_audio.runtime import MonotonicClock
from tests.fakes import MemoryRecorder, ScriptedEngine, SineVocoder, group, services

VOICE = Voice("rms", np.zeros(192, np.float32))


async def breaking(error: BaseException) -> AsyncGenerator[Response, None]:
    yield TextDelta("so ")
    yield group(1)
    raise error


async def whole() -> AsyncGenerator[Response, None]:
    for n in range(3):
        yield group(n)


class BrokenVocoder(SineVocoder):
    """Breaks on its first group."""

    def open(self, voice: Voice, seed: int = 0) -> Stage[TokenGroup, Pcm]:
        return _Broken()


class _Broken:
    def push(self, item: TokenGroup, /) -> Iterable[Pcm]:
        raise IndexError("a bug")

    def flush(self) -> Iterable[Pcm]:
        return ()


async def said(
    response: AsyncGenerator[Response, None], vocoder: Vocoder, into: list[AnswerEvent]
) -> None:
    worker = WorkerThreads("vocoder")
    parts = replace(services(ScriptedEngine([[]])), vocoder=vocoder)
    try:
        run = ResponsePipeline(response, parts, VoiceChange(VOICE), worker, seed=0)
        async for event in run.events():
            into.append(event)
    finally:
        worker.close()


async def test_an_answer_that_is_cancelled_from_within_ends_with_an_error() -> None:
    """B10: the vocoder waited for more groups for ever."""
    seen: list[AnswerEvent] = []
    with pytest.raises(PartFailed) as failed:
        async with asyncio.timeout(10):
            await said(breaking(asyncio.CancelledError()), SineVocoder(), seen)
    assert failed.value.part == "language model's answer"
    assert seen[0] == TextDelta("so ")


@pytest.mark.parametrize(
    ("response", "vocoder", "part"),
    [
        (breaking(KeyError("a bug")), SineVocoder(), "language model's answer"),
        (whole(), BrokenVocoder(), "vocoder"),
    ],
)
async def test_what_breaks_an_answer_is_named_and_logged_with_its_cause(
    response: AsyncGenerator[Response, None],
    vocoder: Vocoder,
    part: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """B18: a group of exceptions hid which part it was."""
    with caplog.at_level(logging.ERROR), pytest.raises(PartFailed, match=part) as failed:
        await said(response, vocoder, [])
    assert isinstance(failed.value.__cause__, LookupError)
    (record,) = [r for r in caplog.records if r.message == "part failed"]
    assert record.__dict__["part"] == part
    assert record.exc_info is not None


async def test_an_error_on_purpose_passes_as_it_is() -> None:
    with pytest.raises(StepAudioError) as failed:
        await said(breaking(EngineError("the engine died")), SineVocoder(), [])
    assert type(failed.value) is EngineError


class LateVocoder(SineVocoder):
    """Says that it speaks four groups after one, and takes its time for the first."""

    chunks = ChunkSizes((1, 4))

    def open(self, voice: Voice, seed: int = 0) -> Stage[TokenGroup, Pcm]:
        return _Slow(super().open(voice, seed))


class _Slow:
    def __init__(self, inner: Stage[TokenGroup, Pcm]) -> None:
        self._inner = inner

    def push(self, item: TokenGroup, /) -> Iterable[Pcm]:
        time.sleep(0.1)
        return self._inner.push(item)

    def flush(self) -> Iterable[Pcm]:
        return self._inner.flush()


async def test_the_first_sound_waits_where_the_next_would_be_late_and_words_do_not() -> None:
    async def words_and_sound() -> AsyncGenerator[Response, None]:
        yield TextDelta("so ")
        for n in range(4):
            await asyncio.sleep(0.05)
            yield group(n)
        yield TextDelta("it is")

    worker, measured = WorkerThreads("vocoder"), MemoryRecorder()
    parts = replace(
        services(ScriptedEngine([[]])),
        vocoder=LateVocoder(),
        recorder=measured,
        clock=MonotonicClock(),
    )
    try:
        run = ResponsePipeline(words_and_sound(), parts, VoiceChange(VOICE), worker, seed=0)
        kinds = [type(event).__name__ async for event in run.events()]
    finally:
        worker.close()
    assert kinds.index("TextDelta") == 0
    assert kinds.count("AudioChunk") == 4
    # The delay is cut short when all is made: the first sound comes after the last word.
    assert kinds.index("AudioChunk") > len(kinds) - 1 - kinds[::-1].index("TextDelta")
    assert dict(measured.seen)["start_delay_s"] > 0.1


async def test_sound_that_waits_when_the_engine_is_lost_is_not_lost_with_it() -> None:
    async def cut_off() -> AsyncGenerator[Response, None]:
        yield TextDelta("so ")
        await asyncio.sleep(0.05)
        yield group(0)
        await asyncio.sleep(0.2)
        raise EngineError("the engine died")

    seen: list[AnswerEvent] = []
    worker = WorkerThreads("vocoder")
    parts = replace(services(ScriptedEngine([[]])), vocoder=LateVocoder(), clock=MonotonicClock())
    try:
        run = ResponsePipeline(cut_off(), parts, VoiceChange(VOICE), worker, seed=0)

        async def listen() -> None:
            async for event in run.events():
                seen.append(event)

        with pytest.raises(EngineError):
            await listen()
    finally:
        worker.close()
    assert any(isinstance(event, AudioChunk) for event in seen)
