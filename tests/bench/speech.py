"""Speech over REST: words understood, first byte, RTF. Run: python -m tests.bench.speech

Lines of JSON, each as soon as it is known. `speech.part`: an independent recogniser's word errors
on in-domain sentences, read by `say`, then through REST in one format; `speech.wer`: all of them.
The model speaks for `say` and for the first format; the others repeat its sound through the same
server, whose encoders and streams are what differs. `speech.load`: requests side by side; rtf is
the time of a request over the length of its sound. `speech.disconnect`: from a client's leaving to
the end of the engine's request, and to the end of the vocoder's last window, which nothing cuts
short (0: it was idle). The server runs in this process, over a real socket on loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import random
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import httpx
import numpy as np
import uvicorn

from server.admission.limits import ServerSettings
from server.app import create_app
from step_audio.core.audio import pcm16_to_float
from step_audio.core.config import load_profile
from step_audio.core.decoding import decode_audio
from step_audio.core.encoding import FORMATS, AudioFormat
from step_audio.core.ports import Engine, Stage, Vocoder
from step_audio.core.profile import Profile
from step_audio.core.types import GenerationRequest, Pcm, TokenGroup, Voice
from step_audio.dialog.assistant import Assistant
from step_audio.nano.domain.generate import generate
from step_audio.nano.exam.judge import domain_judge
from step_audio.runtime import Runtime
from tests.bench.remembered import RememberedEngine, RememberedVoice, TurnAudio

PCM_HZ = 24_000


def texts(number: int, seed: int = 7) -> list[str]:
    """Return sentences of nano's domain that it was not trained on."""
    rng = random.Random(seed)
    found = dict.fromkeys(generate(rng, "held", 0).answer for _ in range(number * 4))
    return [text for text in found if 4 <= len(text.split()) <= 16][:number]


@contextmanager
def serving(assistant: Assistant) -> Iterator[str]:
    """Run the server on a free port and yield its address."""
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(assistant, ServerSettings(max_sessions=4), web=None),
            port=0,
            log_level="warning",
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


def sound_of(data: bytes, audio_format: AudioFormat) -> tuple[Pcm, int]:
    """Return (samples, rate) of a response."""
    if audio_format == "pcm":
        return pcm16_to_float(data), PCM_HZ
    return decode_audio(io.BytesIO(data), 600)


async def said(assistant: Assistant, text: str) -> tuple[Pcm, int]:
    """Return what `say` makes of a text."""
    chunks = [chunk async for chunk in assistant.say(text)]
    return np.concatenate([chunk.pcm for chunk in chunks]), chunks[0].rate_hz


async def read_by_say(profile: Profile, sentences: Sequence[str]) -> list[tuple[Pcm, int]]:
    """Return what `say` makes of each sentence."""
    parts = Runtime(profile)
    assistant = Assistant(parts.services(), parts.settings())
    try:
        return [await said(assistant, text) for text in sentences]
    finally:
        await assistant.aclose()


def read_by_rest(
    address: str, sentences: Sequence[str], audio_format: AudioFormat
) -> list[tuple[Pcm, int]]:
    """Return the same through the server in one format."""
    sounds = []
    with httpx.Client(base_url=address, timeout=600) as client:
        for text in sentences:
            body = {"input": text, "response_format": audio_format}
            got = client.post("/v1/audio/speech", json=body).raise_for_status()
            sounds.append(sound_of(got.content, audio_format))
    return sounds


def words(name: str, sentences: Sequence[str], formats: Sequence[AudioFormat]) -> None:
    """Print the word errors of `say`, and of REST in each format."""
    ear, rates = TurnAudio(domain_judge()), dict[str, float]()
    profile = load_profile(name)
    facts = {"profile": name, "sentences": len(sentences)}

    def judged(part: str, sounds: Sequence[tuple[Pcm, int]], begun_s: float) -> None:
        rates[part] = ear.wrong_words(sentences, sounds)
        took = {"part": part, "wer": rates[part], "took_s": round(time.monotonic() - begun_s, 1)}
        print(json.dumps({"bench": "speech.part", **facts, **took}), flush=True)

    begun_s = time.monotonic()
    judged("say", asyncio.run(read_by_say(profile, sentences)), begun_s)
    parts = Runtime(profile)
    services = parts.services()
    engine = RememberedEngine(services.engine)
    once = replace(services, engine=engine, vocoder=RememberedVoice(services.vocoder))
    with serving(Assistant(once, parts.settings())) as address:
        for audio_format in formats:
            begun_s = time.monotonic()
            judged(audio_format, read_by_rest(address, sentences, audio_format), begun_s)
    print(json.dumps({"bench": "speech.wer", **facts, **rates}), flush=True)


async def request(client: httpx.AsyncClient, text: str) -> tuple[float, float]:
    """Return (ms to the first byte, real-time factor) of one request."""
    begun, first, size = time.perf_counter(), 0.0, 0
    body = {"input": text, "response_format": "pcm"}
    async with client.stream("POST", "/v1/audio/speech", json=body) as got:
        got.raise_for_status()
        async for piece in got.aiter_bytes():
            first = first or time.perf_counter() - begun
            size += len(piece)
    return first * 1000, (time.perf_counter() - begun) / (size / 2 / PCM_HZ)


async def load(address: str, sentences: Sequence[str], parallel: int) -> dict[str, float]:
    """Return percentiles over rounds of `parallel` requests at a time."""
    done: list[tuple[float, float]] = []
    failed = 0
    async with httpx.AsyncClient(base_url=address, timeout=600) as client:
        await request(client, sentences[0])
        for start in range(0, len(sentences), parallel):
            group = sentences[start : start + parallel]
            for got in await asyncio.gather(
                *(request(client, text) for text in group), return_exceptions=True
            ):
                if isinstance(got, BaseException):
                    failed += 1
                else:
                    done.append(got)
    first_ms, rtf = zip(*done, strict=True)
    figures: dict[str, float] = {
        "requests": len(done) + failed,
        "parallel": parallel,
        "failed": failed,
    }
    for name, values in (("first_byte_ms", first_ms), ("rtf", rtf)):
        for p in (50, 95):
            figures[f"{name}_p{p}"] = round(float(np.percentile(values, p)), 3)
    return figures


class Watched:
    """Passes requests on to an engine and notes when the last one ended."""

    def __init__(self, inner: Engine) -> None:
        self._inner = inner
        self.ended_s = 0.0

    async def generate(self, request: GenerationRequest) -> AsyncIterator[int]:
        """Yield the ids of the engine."""
        ids = self._inner.generate(request)
        try:
            async for token_id in ids:
                yield token_id
        finally:
            if isinstance(ids, AsyncGenerator):
                await ids.aclose()
            self.ended_s = time.perf_counter()

    async def prefill(self, prompt: tuple[int, ...], session: str) -> None:
        """Pass on."""
        await self._inner.prefill(prompt, session)

    async def ready(self) -> bool:
        """Pass on."""
        return await self._inner.ready()

    async def aclose(self) -> None:
        """Pass on."""
        await self._inner.aclose()


class WatchedVoice:
    """Passes streams on to a vocoder and notes when it last worked."""

    def __init__(self, inner: Vocoder) -> None:
        self._inner = inner
        self.sample_rate_hz, self.chunks = inner.sample_rate_hz, inner.chunks
        self.busy_until_s = 0.0

    def open(self, voice: Voice, seed: int = 0) -> Stage[TokenGroup, Pcm]:
        """Return a watched stream."""
        return _WatchedStage(self._inner.open(voice, seed), self)


class _WatchedStage:
    def __init__(self, inner: Stage[TokenGroup, Pcm], watch: WatchedVoice) -> None:
        self._inner, self._watch = inner, watch

    def push(self, item: TokenGroup, /) -> list[Pcm]:
        out = list(self._inner.push(item))
        self._watch.busy_until_s = time.perf_counter()
        return out

    def flush(self) -> list[Pcm]:
        out = list(self._inner.flush())
        self._watch.busy_until_s = time.perf_counter()
        return out


async def disconnect(
    address: str, engine: Watched, voice: WatchedVoice, runs: int
) -> dict[str, float]:
    """Return how long after a client left its request to the engine had ended, and the voice."""
    waits, voiced = [], []
    body = {"input": "This is a sentence that goes on and on. " * 20, "response_format": "pcm"}
    for run in range(runs):
        async with (
            httpx.AsyncClient(base_url=address, timeout=600) as client,
            client.stream("POST", "/v1/audio/speech", json=body) as got,
        ):
            heard = 0
            async for piece in got.aiter_bytes():
                heard += len(piece)
                if heard > run * PCM_HZ:  # half a second later each time
                    await asyncio.sleep(run * 0.03)  # in the middle of a window, too
                    left_s = time.perf_counter()
                    break
        for _ in range(1000):
            await asyncio.sleep(0.01)
            if engine.ended_s > left_s:
                break
        await asyncio.sleep(1)
        waits.append((engine.ended_s - left_s) * 1000)
        voiced.append(max(0.0, voice.busy_until_s - left_s) * 1000)
    return {
        "runs": runs,
        "freed_ms_p50": round(float(np.median(waits)), 1),
        "freed_ms_max": round(max(waits), 1),
        "voice_idle_ms_p50": round(float(np.median(voiced)), 1),
        "voice_idle_ms_max": round(max(voiced), 1),
    }


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--profile", default="nano")
    options.add_argument("--sentences", type=int, default=50, help="0 leaves the judge out")
    options.add_argument("--formats", nargs="*", choices=FORMATS, default=FORMATS)
    options.add_argument("--parallel", type=int, default=8)
    options.add_argument("--rounds", type=int, default=5, help="0 leaves the load out")
    options.add_argument("--leaving", type=int, default=10, help="0 leaves the disconnects out")
    args = options.parse_args()
    if args.sentences:
        words(args.profile, texts(args.sentences), args.formats)
    parts = Runtime(load_profile(args.profile))
    services = parts.services()
    engine, voice = Watched(services.engine), WatchedVoice(services.vocoder)
    watched = replace(services, engine=engine, vocoder=voice)
    facts = {"profile": args.profile}
    with serving(Assistant(watched, parts.settings())) as address:
        if args.rounds:
            many = texts(args.parallel * args.rounds)
            loaded = asyncio.run(load(address, many, args.parallel))
            print(json.dumps({"bench": "speech.load", **facts, **loaded}), flush=True)
        if args.leaving:
            freed = asyncio.run(disconnect(address, engine, voice, args.leaving))
            print(json.dumps({"bench": "speech.disconnect", **facts, **freed}), flush=True)


if __name__ == "__main__":
    main()
