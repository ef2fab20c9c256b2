"""Stand-ins at the seams: no weights, no clock, no network, nothing random."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from step_audio.core.chat import ChatEvent, ChatModelRequest
from step_audio.core.decoding import decode_sound
from step_audio.core.errors import ToolError, VoiceNotFound
from step_audio.core.ports import ChunkSizes, RecognitionHints, Services, Stage, ToolSpec
from step_audio.core.types import (
    DecodedSound,
    GenerationRequest,
    Pcm,
    TokenGroup,
    ToolCall,
    ToolResult,
    Transcript,
    Voice,
)
from step_audio.core.vocab import Vocab

VOCAB = Vocab(audio_base=1000, bos=1, bot=4, eot=3, heard_open=6, heard_close=7, call=8)
"""Ids of `ByteTokenizer` end at 555, so audio may start at 1000."""

DUMMY_PREFIX = 5


class ByteTokenizer:
    """encode(s) = [5] + [300 + byte for byte in utf8(s)]; 5 is sentencepiece's dummy prefix."""

    def encode(self, text: str) -> list[int]:
        return [DUMMY_PREFIX, *(300 + byte for byte in text.encode())]

    def open_decoder(self) -> Stage[int, str]:
        return _ByteDecoder()


class _ByteDecoder:
    """Yields text as soon as its bytes form whole characters."""

    def __init__(self) -> None:
        self._bytes = b""

    def push(self, token_id: int, /) -> Iterable[str]:
        if token_id == DUMMY_PREFIX:
            return ()
        self._bytes += bytes([token_id - 300])
        try:
            text = self._bytes.decode()
        except UnicodeDecodeError:
            return ()
        self._bytes = b""
        return (text,)

    def flush(self) -> Iterable[str]:
        rest, self._bytes = self._bytes, b""
        return (rest.decode(errors="replace"),) if rest else ()


def text_ids(text: str) -> list[int]:
    """Return the ids of a text without the dummy prefix."""
    return ByteTokenizer().encode(text)[1:]


def group(n: int) -> TokenGroup:
    """Return a group that is recognisable by its number."""
    return TokenGroup((n % 1024, (n + 1) % 1024), (n, n + 1, n + 2))


@dataclass
class ScriptedEngine:
    """Replays one list of ids a request, in order; records the requests and the aborts.

    `hold`: when set, generation stops before the id of that index until `resume` is set.
    `started` is set by the first request. `well`: what `ready` says.
    """

    scripts: Sequence[Sequence[int]]
    hold: int | None = None
    error: Exception | None = None
    well: bool = True
    requests: list[GenerationRequest] = field(default_factory=list)
    prefilled: list[tuple[tuple[int, ...], str]] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    resume: asyncio.Event = field(default_factory=asyncio.Event)
    started: asyncio.Event = field(default_factory=asyncio.Event)

    async def generate(self, request: GenerationRequest) -> AsyncIterator[int]:
        script = self.scripts[len(self.requests) % len(self.scripts)]
        self.requests.append(request)
        self.started.set()
        finished = False
        try:
            for at, token_id in enumerate(script):
                if at == self.hold:
                    await self.resume.wait()
                await asyncio.sleep(0)
                yield token_id
            if self.error is not None:
                raise self.error
            finished = True
        finally:
            if not finished:
                self.aborted.append(request.request_id)

    async def prefill(self, prompt: tuple[int, ...], session: str) -> None:
        self.prefilled.append((prompt, session))

    async def ready(self) -> bool:
        return self.well

    async def aclose(self) -> None:
        return None


@dataclass
class ScriptedChat:
    """A chat model that replays one list of events a request, in order, and records them.

    `hold`: when set, the reply stops before the event of that index until `resume` is set.
    An event that is an exception is raised.
    """

    scripts: Sequence[Sequence[ChatEvent | Exception]]
    hold: int | None = None
    refused: tuple[str, ...] = ()
    requests: list[ChatModelRequest] = field(default_factory=list)
    aborted: int = 0
    resume: asyncio.Event = field(default_factory=asyncio.Event)

    async def reply(self, request: ChatModelRequest) -> AsyncIterator[ChatEvent]:
        script = self.scripts[len(self.requests) % len(self.scripts)]
        self.requests.append(request)
        finished = False
        try:
            for at, event in enumerate(script):
                if at == self.hold:
                    await self.resume.wait()
                await asyncio.sleep(0)
                if isinstance(event, Exception):
                    raise event
                yield event
            finished = True
        finally:
            self.aborted += not finished

    async def ready(self) -> bool:
        return True

    async def aclose(self) -> None:
        return None


@dataclass
class ScriptedRecognizer:
    """Hears the words of a script, one for each `word_s` of sound; records what it was asked.

    `resume`: passes wait for it, when it is there.
    """

    words: Sequence[str]
    word_s: float = 0.25
    language: str = "en"
    error: Exception | None = None
    resume: asyncio.Event | None = None
    asked: list[tuple[float, RecognitionHints, bool]] = field(default_factory=list)

    async def recognize(
        self, pcm: Pcm, rate_hz: int, hints: RecognitionHints, *, live: bool = False
    ) -> Transcript:
        seconds = len(pcm) / rate_hz
        self.asked.append((seconds, hints, live))
        if self.resume is not None:
            await self.resume.wait()
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        known = hints.context.split()[-len(self.words) :]
        start = next((n for n in range(len(known), 0, -1) if known[-n:] == self.words[:n]), 0)
        count = int(seconds / self.word_s)
        return Transcript(" ".join(self.words[start : start + count]), self.language)

    async def ready(self) -> bool:
        return True

    async def aclose(self) -> None:
        return None


class SineVocoder:
    """120 ms of sine a group at 8 kHz; the first linguistic code is the pitch.

    Attributes:
        seeds: those that streams were opened with.
    """

    sample_rate_hz = 8000
    chunks = ChunkSizes()

    def __init__(self) -> None:
        self.seeds: list[int] = []

    def open(self, voice: Voice, seed: int = 0) -> Stage[TokenGroup, Pcm]:
        self.seeds.append(seed)
        return _SineStage()


class _SineStage:
    def push(self, item: TokenGroup, /) -> Iterable[Pcm]:
        t = np.arange(960) / 8000
        wave = 0.5 * np.sin(2 * np.pi * (200 + item.linguistic[0]) * t)
        return (wave.astype(np.float32),)

    def flush(self) -> Iterable[Pcm]:
        return ()


class CountingTokenizer:
    """One group for every 1920 samples at 16 kHz; a rest of any length gives one more."""

    sample_rate_hz = 16000

    def open(self) -> Stage[Pcm, TokenGroup]:
        return _CountingStage()

    def encode_reference(self, pcm: Pcm, *, trim: bool) -> list[TokenGroup]:
        return [group(n) for n in range(len(pcm) // 1920)]


class _CountingStage:
    def __init__(self) -> None:
        self._samples = 0
        self._groups = 0

    def push(self, item: Pcm, /) -> Iterable[TokenGroup]:
        self._samples += len(item)
        return self._up_to(self._samples // 1920)

    def flush(self) -> Iterable[TokenGroup]:
        return self._up_to(-(-self._samples // 1920))

    def _up_to(self, total: int) -> list[TokenGroup]:
        out = [group(n) for n in range(self._groups, total)]
        self._groups = total
        return out


class MemoryVoices:
    """Voices named at construction, all alike."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def get(self, name: str) -> Voice:
        if name not in self._names:
            raise VoiceNotFound(name, self._names)
        return Voice(name, np.zeros(192, dtype=np.float32))

    def names(self) -> tuple[str, ...]:
        return self._names


class FakeTools:
    """A clock that is always at noon, and a tool that always fails."""

    def specs(self) -> Sequence[ToolSpec]:
        return (ToolSpec("get_time", "Tell the time.", {"type": "object", "properties": {}}),)

    async def call(self, call: ToolCall) -> ToolResult:
        if call.name != "get_time":
            raise ToolError(f"no tool {call.name!r}")
        return ToolResult(call.call_id, call.name, '{"time":"noon"}')


class FixedClock:
    """Starts at 0 and moves only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def now_s(self) -> float:
        return self.now


class InProcessDecoder:
    """A `SoundDecoder` without processes of its own."""

    def start(self, observe: Callable[[str, float], None]) -> None:
        pass

    async def decode(self, data: bytes, max_seconds: float) -> DecodedSound:
        return await asyncio.to_thread(decode_sound, data, max_seconds)

    def close(self) -> None:
        pass


class MemoryRecorder:
    """Keeps what was observed."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float]] = []

    def observe(self, name: str, value: float) -> None:
        self.seen.append((name, value))


def numbered(prefix: str) -> Callable[[], str]:
    """Return a maker of ids prefix1, prefix2, ..."""
    count = iter(range(1, 1_000_000))
    return lambda: f"{prefix}{next(count)}"


def services(engine: ScriptedEngine) -> Services:
    """Return a complete set of services around a scripted engine."""
    return Services(
        model_name="fake",
        vocab=VOCAB,
        audio_tokenizer=CountingTokenizer(),
        text_tokenizer=ByteTokenizer(),
        engine=engine,
        vocoder=SineVocoder(),
        voices=MemoryVoices("rms", "slt"),
        default_voice="rms",
        tools=FakeTools(),
        clock=FixedClock(),
        recorder=MemoryRecorder(),
        sound_decoder=InProcessDecoder(),
    )
