"""openai-agents: its session runs the tool, tracks playback and truncates on its own."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Any

from agents import function_tool, set_tracing_disabled
from agents.realtime import RealtimeAgent, RealtimeRunner, RealtimeSession
from flow import CHUNK_S, FASTER, RATE_HZ, STEP_S, WEATHER, Report, chunks, silence, sound, url


@function_tool
def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    CALLS.append(city)
    return WEATHER


CALLS: list[str] = []


async def say(session: RealtimeSession, name: str) -> None:
    for piece in chunks(sound(name) + silence(0.9)):
        await session.send_audio(piece)
        await asyncio.sleep(CHUNK_S / FASTER)


async def until(events: Any, kind: str, report: Report) -> int:
    """Return how many bytes of sound came before an event of the session or of its model."""
    heard = 0
    async with asyncio.timeout(STEP_S):
        async for event in events:
            raw = event.data.type if event.type == "raw_model_event" else None
            if event.type == "error" or raw in ("error", "exception"):
                report.violations.append(str(event)[:300])
            if event.type == "audio":
                heard += len(event.audio.data)
            if kind in (event.type, raw):
                return heard
    raise AssertionError(f"closed before {kind}")


async def main() -> None:
    set_tracing_disabled(True)
    report = Report("openai-agents", version("openai-agents"))
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
        events = session.__aiter__()
        await say(session, "weather")
        await until(events, "tool_end", report)
        report.done("call", city=CALLS[0])
        heard = 0
        while heard < RATE_HZ:  # the first turn that ends is the one with the call
            heard = await until(events, "turn_ended", report)
        report.done("turn", bytes=heard)
        await say(session, "units")
        await until(events, "audio", report)
        speaking = asyncio.create_task(say(session, "feet"))
        await until(events, "audio_interrupted", report)
        await speaking
        await until(events, "audio", report)
        await until(events, "turn_ended", report)
        report.done("interruption")
    report.done("close")
    report.end()


if __name__ == "__main__":
    asyncio.run(main())
