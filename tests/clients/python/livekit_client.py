"""livekit-plugins-openai: its RealtimeSession, driven as its AgentSession drives it."""

from __future__ import annotations

import asyncio
import logging
from importlib.metadata import version
from typing import Any

import aiohttp
from flow import CHUNK_S, FASTER, RATE_HZ, STEP_S, WEATHER, Report, chunks, silence, sound, url
from livekit import rtc
from livekit.agents import llm
from livekit.plugins import openai
from openai.types.realtime.realtime_audio_input_turn_detection import ServerVad


@llm.function_tool
async def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return WEATHER


class Driver:
    """Collects generations, as an agent would play them."""

    def __init__(self, session: Any, report: Report) -> None:
        self.session, self.report = session, report
        self.calls: asyncio.Queue[Any] = asyncio.Queue()
        self.started: asyncio.Queue[str] = asyncio.Queue()
        self.played: asyncio.Queue[int] = asyncio.Queue()
        self.interrupted = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        session.on("generation_created", lambda event: self._spawn(self._play(event)))
        session.on("input_speech_started", lambda _: self.interrupted.set())
        session.on("error", lambda event: report.violations.append(str(event.error)[:300]))

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _play(self, generation: Any) -> None:
        async def messages() -> None:
            async for message in generation.message_stream:
                samples = 0
                async for frame in message.audio_stream:
                    if not samples:
                        self.started.put_nowait(message.message_id)
                    samples += frame.samples_per_channel
                self.played.put_nowait(samples)

        async def functions() -> None:
            async for call in generation.function_stream:
                self.calls.put_nowait(call)

        await asyncio.gather(messages(), functions())

    async def say(self, name: str) -> None:
        for piece in chunks(sound(name) + silence(0.9)):
            frame = rtc.AudioFrame(piece, RATE_HZ, 1, len(piece) // 2)
            self.session.push_audio(frame)
            await asyncio.sleep(CHUNK_S / FASTER)


async def main() -> None:
    report = Report("livekit-plugins-openai", version("livekit-plugins-openai"))
    logging.getLogger("livekit").setLevel(logging.DEBUG)
    logging.getLogger("livekit").addFilter(lambda r: _unknown(r, report))
    async with aiohttp.ClientSession() as http, asyncio.timeout(3 * STEP_S):
        model = openai.realtime.RealtimeModel(
            model="step-audio-nano",
            voice="rms",
            base_url=url().removesuffix("/realtime").replace("ws", "http", 1),
            api_key="none",
            http_session=http,
            turn_detection=ServerVad(type="server_vad", silence_duration_ms=500),
        )
        session = model.session()
        driver = Driver(session, report)
        await session.update_instructions("Be brief.")
        await session.update_tools([get_weather])
        await driver.say("weather")
        call = await driver.calls.get()
        report.done("call", arguments=call.arguments)
        context = session.chat_ctx.copy()
        context.items.append(
            llm.FunctionCallOutput(
                call_id=call.call_id, name=call.name, output=WEATHER, is_error=False
            )
        )
        await session.update_chat_ctx(context)
        await session.generate_reply()
        samples = await driver.played.get()
        assert samples > RATE_HZ // 2, samples
        report.done("turn", samples=samples)
        while not driver.started.empty():
            driver.started.get_nowait()
        await driver.say("units")
        message_id = await driver.started.get()
        driver.interrupted.clear()
        speaking = asyncio.create_task(driver.say("feet"))
        await driver.interrupted.wait()
        session.interrupt()
        session.truncate(message_id=message_id, modalities=["audio"], audio_end_ms=300)
        await driver.played.get()
        await speaking
        assert await driver.played.get() > 0
        report.done("interruption")
        await session.aclose()
        await model.aclose()
    report.done("close")
    report.end()


def _unknown(record: logging.LogRecord, report: Report) -> bool:
    if "unhandled event" in record.getMessage():
        known = ("session.", "input_audio_buffer.", "response.", "conversation.", "rate_limits.")
        kind = record.getMessage().rpartition(" ")[2]
        if not kind.startswith(known):
            report.violations.append(record.getMessage())
    return record.levelno >= logging.WARNING


if __name__ == "__main__":
    asyncio.run(main())
