"""What Home Assistant says to a Wyoming server, through wyoming-openai. Run by its own environment.

Describe; a question as sound, once over REST and once over a transcription session while it is
spoken; a sentence to be read aloud. The last line is JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.info import Describe, Info
from wyoming.tts import Synthesize, SynthesizeVoice

RATE_HZ, CHUNK = 24_000, 2_400
START_S, STEP_S = 60.0, 180.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def started(port: int) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)
        else:
            writer.close()
            return


async def answers(client: AsyncTcpClient, kind: Any) -> list[Any]:
    """Return events up to one of a kind."""
    seen: list[Any] = []
    async with asyncio.timeout(STEP_S):
        while not seen or not kind.is_type(seen[-1].type):
            event = await client.read_event()
            if event is None:
                raise RuntimeError(f"the proxy closed the connection after {seen}")
            seen.append(event)
    return seen


async def transcribed(port: int, model: str, pcm: bytes) -> str:
    async with AsyncTcpClient("127.0.0.1", port) as client:
        await client.write_event(Transcribe(name=model, language="en").event())
        form = {"rate": RATE_HZ, "width": 2, "channels": 1}
        await client.write_event(AudioStart(**form).event())
        for at in range(0, len(pcm), CHUNK * 2):
            await client.write_event(AudioChunk(audio=pcm[at : at + CHUNK * 2], **form).event())
        await client.write_event(AudioStop().event())
        heard = await answers(client, Transcript)
        return str(Transcript.from_event(heard[-1]).text)


async def main(log: BinaryIO) -> None:
    url, port = os.environ["BASE_URL"], free_port()
    live = "whisper-live"
    command = [sys.executable, "-m", "wyoming_openai", "--uri", f"tcp://127.0.0.1:{port}"]
    command += ["--languages", "en", "--stt-openai-url", url, "--stt-openai-key", "none"]
    command += ["--stt-models", "whisper-1", live, "--stt-realtime-models", live]
    command += ["--tts-openai-url", url, "--tts-openai-key", "none", "--tts-models", "tts-1"]
    command += ["--tts-voices", "rms", "slt"]
    proxy = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    report: dict[str, Any] = {}
    try:
        await started(port)
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(Describe().event())
            info = Info.from_event((await answers(client, Info))[-1])
            report["voices"] = sorted({v.name for program in info.tts for v in program.voices})
        pcm = (Path(os.environ["SOUNDS"]) / "legs.pcm").read_bytes() + bytes(RATE_HZ)
        report["heard"] = await transcribed(port, "whisper-1", pcm)
        report["heard_live"] = await transcribed(port, live, pcm)
        async with AsyncTcpClient("127.0.0.1", port) as client:
            voice = SynthesizeVoice(name=report["voices"][0])
            await client.write_event(Synthesize("It is noon.", voice=voice).event())
            said = await answers(client, AudioStop)
            chunks = [AudioChunk.from_event(e) for e in said if AudioChunk.is_type(e.type)]
            report["sound_s"] = sum(len(c.audio) / 2 / c.rate for c in chunks)
    finally:
        proxy.terminate()
        await proxy.wait()
        print(json.dumps(report), flush=True)


with Path(os.environ["LOG"]).open("wb") as told:
    asyncio.run(main(told))
