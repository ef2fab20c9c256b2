"""pipecat: its OpenAIRealtimeLLMService in a pipeline with its context aggregators."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Any

from flow import RATE_HZ, TRIES, UNINTERRUPTED, Report, spoken, url
from loguru import logger
from pipecat.adapters.schemas.function_schema import FunctionSchema
from pipecat.adapters.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMRunFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.realtime import events
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService

TOOL = FunctionSchema(
    name="get_weather",
    description="Tell the weather of a city.",
    properties={"city": {"type": "string"}},
    required=["city"],
)


class Sink(FrameProcessor):
    """Takes what would be played."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report
        self.heard = self._bytes = 0
        self._seen: asyncio.Queue[tuple[str, int]] = asyncio.Queue()

    async def until(self, *kinds: str) -> str:
        """Return which came first: an answer's first "sound", "stopped" or "interrupted".

        `heard` tells how many bytes of the answer had come by then.
        """
        async with self.report.waiting(" or ".join(kinds)):
            while True:
                kind, self.heard = await self._seen.get()
                self.report.note(kind)
                if kind in kinds:
                    return kind

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            first, self._bytes = not self._bytes, self._bytes + len(frame.audio)
            if first:
                self._seen.put_nowait(("sound", self._bytes))
        elif isinstance(frame, TTSStoppedFrame):
            self._note("stopped")
        elif isinstance(frame, InterruptionFrame):
            self._note("interrupted")
        elif isinstance(frame, ErrorFrame):
            self.report.violations.append(str(frame)[:300])
        await self.push_frame(frame, direction)

    def _note(self, kind: str) -> None:
        self._seen.put_nowait((kind, self._bytes))
        self._bytes = 0


async def main(report: Report) -> None:
    logger.remove()
    logger.add(lambda text: report.violations.append(str(text)[:300]), level="ERROR")
    called = asyncio.Event()
    detection = events.TurnDetection(type="server_vad", silence_duration_ms=500)
    hear = events.AudioInput(
        turn_detection=detection, transcription=events.InputAudioTranscription()
    )
    service = OpenAIRealtimeLLMService(
        api_key="none",
        base_url=url(),
        settings=OpenAIRealtimeLLMService.Settings(
            model="step-audio-nano",
            session_properties=events.SessionProperties(
                instructions="Be brief.", audio=events.AudioConfiguration(input=hear)
            ),
        ),
    )

    async def get_weather(params: Any) -> None:
        report.done("call", arguments=dict(params.arguments))
        called.set()
        await params.result_callback({"condition": "sunny", "temperature": 21})

    service.register_function("get_weather", get_weather)
    context = LLMContext([], ToolsSchema(standard_tools=[TOOL]))
    pair = LLMContextAggregatorPair(context)
    sink = Sink(report)
    pipeline = Pipeline([pair.user(), service, sink, pair.assistant()])
    rates = PipelineParams(audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ)
    task = PipelineTask(pipeline, params=rates)
    running = asyncio.create_task(PipelineRunner(handle_sigint=False).run(task))

    async def say(name: str) -> None:
        async for piece in spoken(name):
            await task.queue_frame(InputAudioRawFrame(piece, RATE_HZ, 1))

    async def interrupted() -> bool:
        """Speak into an answer; return whether that came before its end."""
        await say("story")
        await sink.until("sound")
        speaking = asyncio.create_task(say("capital"))
        first = await sink.until("interrupted", "stopped")
        await speaking
        await sink.until("sound")
        await sink.until("stopped")
        return first == "interrupted"

    await task.queue_frame(LLMRunFrame())  # an empty context: the model greets
    await sink.until("stopped")
    await say("weather")
    async with report.waiting("the call"):
        await called.wait()
    sink.heard = 0
    while sink.heard <= RATE_HZ:  # the call's own response is as good as silent
        await sink.until("stopped")
    report.done("turn", bytes=sink.heard)
    for _ in range(TRIES):
        if await interrupted():
            break
    else:
        raise AssertionError(UNINTERRUPTED)
    report.done("interruption")
    await task.queue_frame(EndFrame())
    async with report.waiting("the close"):
        await running
    report.done("close")


if __name__ == "__main__":
    REPORT = Report("pipecat-ai", version("pipecat-ai"))
    REPORT.run(main(REPORT))
