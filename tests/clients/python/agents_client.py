"""openai-agents: its session runs the tool, tracks playback and truncates on its own."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Any

from agents import function_tool, set_tracing_disabled
from agents.realtime import RealtimeAgent, RealtimeRunner, RealtimeSession
from flow import RATE_HZ, TRIES, UNINTERRUPTED, WEATHER, Report, spoken, url


@function_tool
def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    CALLS.append(city)
    return WEATHER


CALLS: list[str] = []


async def say(session: RealtimeSession, name: str) -> None:
    async for piece in spoken(name):
        await session.send_audio(piece)


class Events:
    """Events of the session and, by their own names, of its model."""

    def __init__(self, session: RealtimeSession, report: Report) -> None:
        self._events, self._report = session.__aiter__(), report
        self.heard = 0

    async def until(self, *kinds: str) -> str:
        """Return which of these came first; `heard` tells the bytes of sound before it."""
        self.heard = 0
        async with self._report.waiting(" or ".join(kinds)):
            async for event in self._events:
                raw = event.data.type if event.type == "raw_model_event" else None
                self._report.note(raw or event.type)
                if event.type == "error" or raw in ("error", "exception"):
                    self._report.violations.append(str(event)[:300])
                if event.type == "audio":
                    self.heard += len(event.audio.data)
                for kind in (event.type, raw):
                    if kind in kinds:
                        return kind
        raise AssertionError(f"closed before {kinds}")


async def main(report: Report) -> None:
    set_tracing_disabled(True)
    agent = RealtimeAgent(name="helper", instructions="Be brief.", tools=[get_weather])
    runner = RealtimeRunner(agent, config={"async_tool_calls": False})
    detection = {"type": "semantic_vad", "interrupt_response": True}
    settings: Any = {
        "model_name": "step-audio-nano",
        "audio": {
            "input": {"turn_detection": detection, "transcription": {"model": "whisper-1"}},
            "output": {"voice": "rms"},
        },
    }
    where: Any = {"url": f"{url()}?model=nano", "api_key": "none"}
    session = await runner.run(model_config={**where, "initial_model_settings": settings})
    async with session:
        events = Events(session, report)
        await say(session, "weather")
        await events.until("tool_end")
        report.done("call", city=CALLS[0])
        heard = 0
        while heard < RATE_HZ:  # the first turn that ends is the one with the call
            await events.until("turn_ended")
            heard = events.heard
        report.done("turn", bytes=heard)
        for _ in range(TRIES):
            if await interrupted(session, events):
                break
        else:
            raise AssertionError(UNINTERRUPTED)
        report.done("interruption")
    report.done("close")


async def interrupted(session: RealtimeSession, events: Events) -> bool:
    """Speak into an answer; return whether that came before its end."""
    await say(session, "story")
    if await events.until("audio", "turn_ended") == "turn_ended":
        return False
    speaking = asyncio.create_task(say(session, "capital"))
    first = await events.until("audio_interrupted", "turn_ended")
    if first == "audio_interrupted":
        await events.until("turn_ended")  # of the answer that was cut
    await speaking
    await events.until("turn_ended")
    return first == "audio_interrupted"


if __name__ == "__main__":
    REPORT = Report("openai-agents", version("openai-agents"))
    REPORT.run(main(REPORT))
