"""pipecat: its OpenAIRealtimeLLMService in a pipeline with its context aggregators."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Any

from flow import CHUNK_S, FASTER, RATE_HZ, STEP_S, Report, chunks, silence, sound, url
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
    """Counts what would be played."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report
        self.heard = 0
        self.sound, self.stopped, self.interrupted = (asyncio.Event() for _ in range(3))

    def forget(self) -> None:
        self.heard = 0
        for event in (self.sound, self.stopped, self.interrupted):
            event.clear()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self.heard += len(frame.audio)
            self.sound.set()
        elif isinstance(frame, TTSStoppedFrame):
            self.stopped.set()
        elif isinstance(frame, InterruptionFrame):
            self.interrupted.set()
        elif isinstance(frame, ErrorFrame):
            self.report.violations.append(str(frame)[:300])
        await self.push_frame(frame, direction)


async def main() -> None:
    report = Report("pipecat-ai", version("pipecat-ai"))
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
        for piece in chunks(sound(name) + silence(0.9)):
            await task.queue_frame(InputAudioRawFrame(piece, RATE_HZ, 1))
            await asyncio.sleep(CHUNK_S / FASTER)

    async def wait(event: asyncio.Event) -> None:
        async with asyncio.timeout(STEP_S):
            await event.wait()

    await asyncio.sleep(1)
    await task.queue_frame(LLMRunFrame())  # an empty context: the model greets
    await wait(sink.stopped)
    sink.forget()
    await say("weather")
    await wait(called)
    sink.forget()
    await wait(sink.stopped)
    assert sink.heard > RATE_HZ, sink.heard
    report.done("turn", bytes=sink.heard)
    sink.forget()
    await say("units")
    await wait(sink.sound)
    sink.interrupted.clear()
    speaking = asyncio.create_task(say("feet"))
    await wait(sink.interrupted)
    sink.forget()
    await speaking
    await wait(sink.sound)
    await wait(sink.stopped)
    report.done("interruption")
    await task.queue_frame(EndFrame())
    async with asyncio.timeout(STEP_S):
        await running
    report.done("close")
    report.end()


if __name__ == "__main__":
    asyncio.run(main())
