"""livekit-plugins-openai: its RealtimeSession, driven as its AgentSession drives it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import aiohttp
from flow import RATE_HZ, TRIES, UNINTERRUPTED, WEATHER, Report, spoken, url
from livekit import rtc
from livekit.agents import llm
from livekit.plugins import openai
from openai.types.realtime.realtime_audio_input_turn_detection import ServerVad


@llm.function_tool
async def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return WEATHER


class Generation:
    """One answer, as an agent would play it."""

    def __init__(self) -> None:
        self.message_id: str | None = None
        self.samples = 0
        self.calls: list[Any] = []
        self.interrupted = self.ended = False

    async def play(self, event: Any, news: Callable[[], None]) -> None:
        """Take everything; the plugin ends both streams when the response is done."""

        async def messages() -> None:
            async for message in event.message_stream:
                async for frame in message.audio_stream:
                    self.message_id = message.message_id
                    self.samples += frame.samples_per_channel
                    news()

        async def functions() -> None:
            async for call in event.function_stream:
                self.calls.append(call)

        await asyncio.gather(messages(), functions())
        self.ended = True
        news()


class Driver:
    """Plays generations side by side; the script waits for what becomes of them."""

    def __init__(self, session: Any, report: Report) -> None:
        self.session, self.report = session, report
        self.generations: list[Generation] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        session.on("generation_created", self._begin)
        session.on("input_speech_started", lambda _: self._speech_started())
        session.on("openai_server_event_received", lambda event: report.note(event["type"]))
        session.on("error", lambda event: report.violations.append(str(event.error)[:300]))

    async def say(self, name: str) -> None:
        async for piece in spoken(name):
            self.session.push_audio(rtc.AudioFrame(piece, RATE_HZ, 1, len(piece) // 2))

    async def until(
        self, what: str, fits: Callable[[Generation], object], since: int = 0
    ) -> Generation:
        """Return the first generation that fits, of those that came after the first `since`."""
        async with self.report.waiting(what):
            while True:
                for generation in self.generations[since:]:
                    if fits(generation):
                        return generation
                self._news.clear()
                await self._news.wait()

    def _begin(self, event: Any) -> None:
        generation = Generation()
        self.generations.append(generation)
        task = asyncio.create_task(generation.play(event, self._news.set))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _speech_started(self) -> None:
        for generation in self.generations:
            generation.interrupted |= not generation.ended
        self._news.set()


async def main(report: Report) -> None:
    logging.getLogger("livekit").setLevel(logging.DEBUG)
    logging.getLogger("livekit").addFilter(lambda r: _unknown(r, report))
    async with aiohttp.ClientSession() as http:
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
        await call(driver)
        for _ in range(TRIES):
            if await interrupted(driver):
                break
        else:
            raise AssertionError(UNINTERRUPTED)
        report.done("interruption")
        async with report.waiting("the close"):
            await session.aclose()
            await model.aclose()
    report.done("close")


async def call(driver: Driver) -> None:
    """Take the call of a question, send its result and hear the answer."""
    session, report = driver.session, driver.report
    asked = await driver.until("the call", lambda g: g.ended and g.calls)
    made = asked.calls[0]
    report.done("call", arguments=made.arguments)
    context = session.chat_ctx.copy()
    context.items.append(
        llm.FunctionCallOutput(call_id=made.call_id, name=made.name, output=WEATHER, is_error=False)
    )
    async with report.waiting("the reply to the result"):
        await session.update_chat_ctx(context)
        await session.generate_reply()
    answer = await driver.until("the answer", lambda g: g.ended and g.samples)
    assert answer.samples > RATE_HZ // 2, answer.samples
    report.done("turn", samples=answer.samples)


async def interrupted(driver: Driver) -> bool:
    """Speak into an answer; return whether that came before its end."""
    before = len(driver.generations)
    await driver.say("story")
    answer = await driver.until("sound", lambda g: g.samples or g.ended, before)
    if answer.ended:
        return False
    after = len(driver.generations)
    speaking = asyncio.create_task(driver.say("capital"))
    await driver.until("the interruption", lambda g: g is answer and (g.interrupted or g.ended))
    if answer.interrupted:
        driver.session.interrupt()
        driver.session.truncate(
            message_id=answer.message_id, modalities=["audio"], audio_end_ms=300
        )
    await speaking
    await driver.until("the end of the answer", lambda g: g is answer and g.ended)
    await driver.until("the next answer", lambda g: g.ended and not g.interrupted, after)
    return answer.interrupted


def _unknown(record: logging.LogRecord, report: Report) -> bool:
    if "unhandled event" in record.getMessage():
        known = ("session.", "input_audio_buffer.", "response.", "conversation.", "rate_limits.")
        kind = record.getMessage().rpartition(" ")[2]
        if not kind.startswith(known):
            report.violations.append(record.getMessage())
    return record.levelno >= logging.WARNING


if __name__ == "__main__":
    REPORT = Report("livekit-plugins-openai", version("livekit-plugins-openai"))
    REPORT.run(main(REPORT))
