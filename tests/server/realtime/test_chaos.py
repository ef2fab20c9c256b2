"""Many sessions that end by every way there is: afterwards everything is as it was before.

Real sockets on loopback and a real server, in the test's own event loop, so that each task of both
ends can be counted. `CHAOS_SESSIONS` and `CHAOS_SEED` choose others than those of every run.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import logging
import os
import random
import socket as sockets
import threading
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from server.admission.drain import Drain
from server.admission.limits import ServerSettings
from server.app import create_app
from server.http.websocket import Socket
from server.realtime.connection.session_host import SessionHost
from server.realtime.session.dispatch import RealtimeSession
from server.realtime.session.response_task import ResponseTask
from server.routes.tts.session import SpeechSession
from server.serving import configured
from step_audio.core.audio import float_to_pcm16
from step_audio.core.errors import EngineError
from step_audio.core.ports import Stage, ToolSpec
from step_audio.core.types import GenerationRequest, Pcm, TokenGroup, ToolCall, ToolResult, Voice
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.conversation import Conversation
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.settings import DialogSettings
from tests.fakes import VOCAB, CountingTokenizer, SineVocoder, group, services, text_ids
from tokenizer.vad import EnergyTurnDetector

SESSIONS: Final = int(os.environ.get("CHAOS_SESSIONS", "200"))
SEED: Final = int(os.environ.get("CHAOS_SEED", "1"))
AT_ONCE: Final = 20
PLACES: Final = 12
"""Fewer than sessions at once: some are refused, and come again."""
LIMITS: Final = ServerSettings(
    max_sessions=PLACES,
    max_message_bytes=1 << 20,
    send_timeout_s=2.0,
    idle_timeout_s=60.0,
    resume_window_s=0.3,
    drain_s=0.5,
)
SHORT: Final = interleave(text_ids("It is noon."), [group(n) for n in range(4)], VOCAB)
_WORDS: Final = " ".join(f"On and on to {n}." for n in range(12))
UNSPEAKABLE: Final = group(500)
BROKEN: Final = interleave(text_ids("It is noon."), [group(1), UNSPEAKABLE], VOCAB)
LONG: Final = interleave(text_ids(_WORDS), [group(n) for n in range(90)], VOCAB)
"""Far more sound than the sockets' small buffers hold."""
KNOWN: Final = frozenset({"part failed", "tool broke", "reading failed"})
"""What is logged as an error: faults of the parts that were made to break."""
_WAIT_S: Final = 60.0
"""Longest wait of a client for anything; only a session that hangs makes it wait so long."""


class Breakable:
    """An engine with rows, which does what the newest words of the person say."""

    def __init__(self, rows: int) -> None:
        self._free = asyncio.Semaphore(rows)
        self.taken = 0
        self.served: Counter[str] = Counter()

    async def generate(self, request: GenerationRequest) -> AsyncIterator[int]:
        async with self._free:
            self.taken += 1
            try:
                async for token_id in self._said(_read(request.prompt), request.form):
                    await asyncio.sleep(0)
                    yield token_id
            finally:
                self.taken -= 1

    async def _said(self, prompt: str, form: str | None) -> AsyncIterator[int]:
        for tool in ("cancels", "hangs", "breaks"):
            if f"tool {tool}" in prompt and f"{tool} {{}}" not in prompt:
                self.served[tool] += 1
                for token_id in (8, *text_ids(f"{tool} {{}}")):
                    yield token_id
                return
        kind = next((k for k in ("engine fails", "engine crashes", "think") if k in prompt), "")
        self.served[kind] += 1
        if kind == "think":
            await asyncio.Event().wait()
        said = LONG if "at length" in prompt else BROKEN if "unspeakable" in prompt else SHORT
        for at, token_id in enumerate(said):
            if at == 20 and kind == "engine fails":
                raise EngineError("the engine is gone")
            if at == 20 and kind == "engine crashes":
                raise RuntimeError("a fault of the engine")
            if form != "speech" or VOCAB.is_audio(token_id):
                yield token_id

    async def prefill(self, prompt: tuple[int, ...], session: str) -> None:
        await asyncio.sleep(0)

    async def ready(self) -> bool:
        return True

    async def aclose(self) -> None:
        return None


def _read(prompt: Sequence[int]) -> str:
    """Return the text in a prompt."""
    return bytes(i - 300 for i in prompt if 300 <= i < 556).decode(errors="replace")


class BreakableTools:
    """Tools that end by themselves as tools should not."""

    def __init__(self) -> None:
        self.running = 0

    def specs(self) -> Sequence[ToolSpec]:
        return [
            ToolSpec(name, "A tool.", {"type": "object", "properties": {}})
            for name in ("cancels", "hangs", "breaks")
        ]

    async def call(self, call: ToolCall) -> ToolResult:
        self.running += 1
        try:
            await asyncio.sleep(0)
            if call.name == "hangs":
                await asyncio.Event().wait()
            if call.name == "cancels":
                raise asyncio.CancelledError
            raise RuntimeError("a fault of the tool")
        finally:
            self.running -= 1


class BreakableVocoder(SineVocoder):
    """Breaks at one group."""

    def open(self, voice: Voice, seed: int = 0) -> Stage[TokenGroup, Pcm]:
        return _BreakableStage(super().open(voice))


class _BreakableStage:
    def __init__(self, stage: Stage[TokenGroup, Pcm]) -> None:
        self._stage = stage

    def push(self, item: TokenGroup, /) -> Iterable[Pcm]:
        if item == UNSPEAKABLE:
            raise RuntimeError("a fault of the vocoder")
        return self._stage.push(item)

    def flush(self) -> Iterable[Pcm]:
        return self._stage.flush()


class LastValues:
    """A recorder that keeps sums and newest values, so that it does not grow."""

    def __init__(self) -> None:
        self.sums: Counter[str] = Counter()
        self.last: dict[str, float] = {}

    def observe(self, name: str, value: float) -> None:
        self.sums[name] += 1
        self.last[name] = value


class Client:
    """One client. Its methods fail rather than wait for ever."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(_WAIT_S):
            event: dict[str, Any] = json.loads(await self.socket.recv())
        return event

    async def until(self, *kinds: str) -> dict[str, Any]:
        while (event := await self.next())["type"] not in kinds:
            pass
        return event

    async def say(self, words: str) -> None:
        """Type a message and ask for an answer."""
        content = [{"type": "input_text", "text": words}]
        item = {"type": "message", "role": "user", "content": content}
        await self.send("conversation.item.create", item=item)
        await self.send("response.create")

    async def speak(self, seconds: float, level: float) -> None:
        noise = np.random.default_rng(0).uniform(-1, 1, int(seconds * 24_000))
        audio = base64.b64encode(float_to_pcm16((level * noise).astype(np.float32))).decode()
        await self.send("input_audio_buffer.append", audio=audio)

    async def closed(self) -> int:
        """Read until the server closes; return its code."""
        async with asyncio.timeout(_WAIT_S):
            try:
                while True:
                    await self.socket.recv()
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd is not None else 1006

    def drop(self) -> None:
        """Tear the socket as a dying network would."""
        self.socket.transport.abort()


class Server(uvicorn.Server):
    """Tells when it is up. `DrainingServer` would change the whole process's collector."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[sockets.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    def leave(self) -> None:
        self.should_exit = True


@dataclass
class Stand:
    """A server under test and what its seams saw."""

    port: int
    engine: Breakable
    tools: BreakableTools
    recorder: LastValues
    server: Server
    drain: Drain
    ends: Counter[str] = field(default_factory=Counter)

    @asynccontextmanager
    async def client(
        self, *offered: str, narrow: bool = False, path: str = "/v1/realtime"
    ) -> AsyncIterator[Client]:
        """Connect, again for as long as the server is full, and leave nothing behind."""
        protocols = [Subprotocol(name) for name in ("realtime", *offered)]
        while True:
            with sockets.socket() as plain:
                if narrow:
                    plain.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 1 << 14)
                plain.setblocking(False)
                await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", self.port))
                try:
                    socket = await connect(
                        f"ws://127.0.0.1:{self.port}{path}",
                        sock=plain.dup(),
                        subprotocols=protocols,
                        max_size=None,
                        max_queue=1 if narrow else 16,
                        ping_interval=None,
                        compression=None,
                        open_timeout=_WAIT_S,
                    )
                except InvalidStatus as full:
                    if full.response.status_code != 503:
                        raise
                    self.ends["refused"] += 1
                    await asyncio.sleep(0.02)
                    continue
            break
        try:
            yield Client(socket)
        finally:
            with suppress(ConnectionClosed, TimeoutError):
                async with asyncio.timeout(_WAIT_S):
                    await socket.close()
            socket.transport.abort()
            await socket.wait_closed()

    async def given_up(self, client: Client) -> None:
        """Wait until the server has closed a client that reads nothing."""
        address = client.socket.local_address
        for _ in range(int(_WAIT_S / 0.05)):
            open_ = [
                each
                for each in self.server.server_state.connections
                if isinstance(each, Socket)
                and each.transport.get_extra_info("peername") == address
                and not each.close_sent
            ]
            if not open_:
                return
            await asyncio.sleep(0.05)
        raise TimeoutError


Way = Callable[[Stand, random.Random], Awaitable[None]]


async def normal(stand: Stand, rng: random.Random) -> None:
    async with stand.client() as client:
        await client.until("session.created")
        for _ in range(rng.randint(1, 2)):
            await client.say("what time is it")
            done = await client.until("response.done")
            stand.ends[done["response"]["status"]] += 1


async def spoken(stand: Stand, rng: random.Random) -> None:
    """The server finds the turn, and speech interrupts the answer."""
    async with stand.client() as client:
        for _ in range(2):
            await client.speak(0.5, 0.3)
            await client.speak(0.7, 0.0)
            await client.until("input_audio_buffer.speech_started")
            await client.until("response.created")
        await client.until("response.done")


async def dropped(stand: Stand, rng: random.Random) -> None:
    async with stand.client() as client:
        await client.say(rng.choice(["at length please", "think about it", "tool hangs"]))
        await client.until("response.created")
        client.drop()


async def dropped_while_hearing(stand: Stand, rng: random.Random) -> None:
    async with stand.client() as client:
        await client.speak(rng.uniform(1, 4), 0.3)
        await client.send("input_audio_buffer.commit")
        await client.send("response.create")
        if rng.random() < 0.5:
            await client.until("input_audio_buffer.speech_started")
        client.drop()


async def cancelled(stand: Stand, rng: random.Random) -> None:
    async with stand.client() as client:
        await client.say("think about it")
        await client.until("response.created")
        await client.send("response.cancel")
        done = await client.until("response.done")
        assert done["response"]["status"] == "cancelled"


async def broken_frame(stand: Stand, rng: random.Random) -> None:
    async with stand.client() as client:
        await client.say("at length please")
        await client.until("response.created")
        mask = rng.randbytes(4)
        broken = {
            b"\xf1\x80" + mask: (1002, 1006),  # reserved bits
            b"\x83\x80" + mask: (1002, 1006),  # an opcode that is none
            b"\x81\x02hi": (1002, 1006),  # not masked
            b"\x81\x81" + mask + bytes([mask[0] ^ 0xFF]): (1007, 1006),  # no UTF-8
            b"\x81\xfe\xff\xff" + mask + b"half": (1006,),  # and then nothing
        }
        frame, codes = rng.choice(list(broken.items()))
        client.socket.transport.write(frame)
        if frame.endswith(b"half"):
            client.drop()
        assert await client.closed() in codes


async def half_a_handshake(stand: Stand, rng: random.Random) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", stand.port)
    request = b"GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    writer.write(request[: rng.randint(1, len(request))])
    writer.transport.abort()
    with suppress(ConnectionError):
        await writer.wait_closed()
    assert reader.at_eof()


async def dropped_in_the_handshake(stand: Stand, rng: random.Random) -> None:
    """The server has let the socket in, and nobody is there."""
    _, writer = await asyncio.open_connection("127.0.0.1", stand.port)
    key = base64.b64encode(rng.randbytes(16)).decode()
    writer.write(
        b"GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        + f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    await writer.drain()
    for _ in range(rng.randint(0, 4)):
        await asyncio.sleep(0)
    writer.transport.abort()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def too_large(stand: Stand, rng: random.Random) -> None:
    async with stand.client() as client:
        await client.until("session.created")
        with suppress(ConnectionClosed):
            await client.socket.send("x" * (LIMITS.max_message_bytes + 1))
        assert await client.closed() == 1009


async def slow_reader(stand: Stand, rng: random.Random) -> None:
    """Reads nothing of a long answer until the server has given it up."""
    async with stand.client(narrow=True) as client:
        await client.say("at length please")
        await stand.given_up(client)
        if rng.random() < 0.5:
            client.drop()
        else:
            assert await client.closed() == 1013


async def broken_part(stand: Stand, rng: random.Random) -> None:
    """Engine, tool or vocoder break; the answer ends all the same, and the session stays."""
    async with stand.client() as client:
        for words in rng.sample(BREAKING, 2):
            await client.say(words)
            done = await client.until("response.done")
            stand.ends[done["response"]["status"]] += 1


async def resumed(stand: Stand, rng: random.Random) -> None:
    """The socket drops and comes back in time, or never, or too late."""
    async with stand.client("step-audio-resume") as client:
        told = await client.until("session.resumable")
        await client.say(rng.choice(["at length please", "think about it"]))
        last = await client.until("response.created")
        client.drop()
    if rng.random() < 0.5:
        return
    if rng.random() < 0.3:
        await asyncio.sleep(2 * LIMITS.resume_window_s)
    resume = f"step-audio-resume.{told['token']}.{last['event_id']}"
    url = f"ws://127.0.0.1:{stand.port}/v1/realtime"
    protocols = [Subprotocol("realtime"), Subprotocol(resume)]
    try:
        async with connect(url, subprotocols=protocols, ping_interval=None) as again:
            stand.ends["resumed"] += 1
            await Client(again).until("session.resumed")
    except InvalidStatus as gone:
        if gone.response.status_code not in (404, 503):  # over, or no place for it now
            raise


async def read_aloud(stand: Stand, rng: random.Random) -> None:
    """A speech socket: read to the end, broken within, dropped, or never read."""
    way = rng.choice(["whole", "breaks", "drops", "slow"])
    texts = {"breaks": "The engine crashes here. ", "whole": "What time is it? "}
    async with stand.client(narrow=way == "slow", path="/v1/realtime/audio") as client:
        await client.send("tts.create", data={"response_format": "wav"})
        text = texts.get(way, "Read at length please. " * 80)  # more than stand in line
        await client.send("tts.text.delta", data={"text": text})
        if way == "slow":
            await stand.given_up(client)
            return
        if way == "drops":
            await client.until("tts.response.audio.delta")
            client.drop()
            return
        await client.send("tts.text.done")
        await client.until("tts.response.error" if way == "breaks" else "tts.response.audio.done")


BREAKING: Final = ("engine fails", "engine crashes", "unspeakable", "tool cancels", "tool breaks")
WAYS: Final[tuple[Way, ...]] = (
    normal,
    spoken,
    dropped,
    dropped_while_hearing,
    cancelled,
    broken_frame,
    half_a_handshake,
    dropped_in_the_handshake,
    too_large,
    slow_reader,
    broken_part,
    broken_part,
    resumed,
    read_aloud,
    read_aloud,
)


@asynccontextmanager
async def standing() -> AsyncIterator[Stand]:
    """Serve until the block ends; whoever has not stopped the server leaves that to this."""
    engine, tools, recorder = Breakable(rows=6), BreakableTools(), LastValues()
    parts = replace(
        services(engine),  # type: ignore[arg-type]
        vocoder=BreakableVocoder(),
        audio_tokenizer=CountingTokenizer(),
        turn_detector=EnergyTurnDetector(),
        tools=tools,
        recorder=recorder,
    )
    app = create_app(Assistant(parts, DialogSettings()), LIMITS, web=None)
    with sockets.socket() as listening:
        # Small buffers: who does not read is noticed early.
        listening.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 1 << 14)
        listening.bind(("127.0.0.1", 0))
        config = configured(app, LIMITS, log_level="critical")
        server = Server(config)
        serving = asyncio.create_task(server.serve([listening]), name="server")
        await server.up.wait()
        port, drain = listening.getsockname()[1], app.state.drain
        try:
            yield Stand(port, engine, tools, recorder, server, drain)
        finally:
            server.should_exit = True
            async with asyncio.timeout(_WAIT_S):
                await serving


KINDS: Final = (
    *(SessionHost, RealtimeSession, ResponseTask, Conversation, SpeechSession),
    *(Socket, ClientConnection),
)
"""What a session is made of, at both ends."""


def living() -> list[object]:
    """Return all objects of what a session is made of."""
    gc.collect()
    # Not isinstance, which would ask lazy modules.
    return [each for each in gc.get_objects() if issubclass(type(each), KINDS)]


def live(others: Sequence[object]) -> dict[str, int]:
    """Return how many there are, without `others`, such as what a test that failed keeps alive."""
    known = set(map(id, others))
    found = Counter(type(each) for each in living() if id(each) not in known)
    return {kind.__name__: found[kind] for kind in KINDS}


def handles() -> int:
    """Return how many files and sockets are open, after what others left has been closed."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


async def settled(stand: Stand, tasks: set[asyncio.Task[Any]], others: Sequence[object]) -> None:
    """Wait until only `tasks` are left, then check that nothing is held."""
    left: set[asyncio.Task[Any]] = set()
    for _ in range(200):
        left = {each for each in asyncio.all_tasks() if each not in tasks}
        if not left and not stand.server.server_state.connections:
            break
        await asyncio.sleep(0.05)
    assert not left, sorted(each.get_name() for each in left)
    assert not stand.server.server_state.connections
    assert (stand.engine.taken, stand.tools.running) == (0, 0)
    assert stand.recorder.last["sessions"] == 0
    assert not any(live(others).values()), live(others)


async def run(stand: Stand, ways: Sequence[Way], rng: random.Random) -> None:
    """Run sessions, so many at a time."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(way: Way, seed: int) -> None:
        async with free:
            await way(stand, random.Random(seed))
            stand.ends[way.__name__] += 1

    async with asyncio.TaskGroup() as group_:
        for way in ways:
            group_.create_task(one(way, rng.getrandbits(32)), name=way.__name__)


def chosen(count: int, rng: random.Random) -> list[Way]:
    """Return so many ways, each as often as the others, in any order."""
    ways = [WAYS[at % len(WAYS)] for at in range(count)]
    rng.shuffle(ways)
    return ways


@pytest.fixture
def errors() -> Iterator[Counter[str]]:
    """Count the errors that are logged; records that pytest keeps would keep sessions alive."""
    counts: Counter[str] = Counter()
    plain = logging.getLogRecordFactory()

    def made(name: str, level: int, *args: Any, **facts: Any) -> logging.LogRecord:
        path, line, message, values, _traceback, *rest = args
        record = plain(name, level, path, line, message, values, None, *rest, **facts)
        if level >= logging.ERROR:
            counts[record.getMessage()] += 1
        return record

    logging.setLogRecordFactory(made)
    yield counts
    logging.setLogRecordFactory(plain)


@pytest.mark.timeout(600)
async def test_sessions_that_end_by_every_way_there_is_leave_nothing_behind(
    errors: Counter[str],
) -> None:
    rng, loop = random.Random(SEED), asyncio.get_running_loop()
    faults: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: faults.append(context))
    before, threads, open_before = asyncio.all_tasks(), threading.active_count(), handles()
    others = living()
    async with standing() as stand:
        serving = asyncio.all_tasks()
        first = min(len(WAYS) * 2, SESSIONS // 2)
        await run(stand, chosen(first, rng), rng)
        await settled(stand, serving, others)
        handles_served = handles()
        tracemalloc.start()
        await run(stand, chosen((SESSIONS - first) // 2, rng), rng)
        await settled(stand, serving, others)
        memory = tracemalloc.get_traced_memory()[0]
        await run(stand, chosen(SESSIONS - first - (SESSIONS - first) // 2, rng), rng)
        await settled(stand, serving, others)
        grown = tracemalloc.get_traced_memory()[0] - memory
        tracemalloc.stop()
        assert grown < 64 * 1024, f"{grown} bytes more after as many sessions again"
        assert handles() == handles_served
        assert stand.recorder.sums["guard_stops.slow"]
        assert all(stand.ends[way.__name__] for way in WAYS)
        await stopped_amid(stand)
    assert asyncio.all_tasks() == before
    assert (stand.engine.taken, stand.tools.running) == (0, 0)
    assert not any(live(others).values()), live(others)
    assert handles() <= open_before
    for _ in range(100):  # worker threads end once their last call has
        if threading.active_count() <= threads + 1:
            break
        await asyncio.sleep(0.05)
    assert threading.active_count() <= threads + 1, threading.enumerate()
    assert not faults
    assert set(errors) <= KNOWN, errors


async def stopped_amid(stand: Stand) -> None:
    """Stop the server, as SIGTERM does, while sessions are in every state."""
    states = ["", "at length please", "think about it", "tool hangs", "what time is it"]

    async def stay(words: str) -> None:
        async with stand.client("step-audio-resume") as client:
            await client.until("session.created")
            if words:
                await client.say(words)
                await client.until("response.created")
            else:
                await client.speak(2.0, 0.3)
            ready.release()
            assert await client.closed() in (1011, 1012)

    ready = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as group_:
        for words in states * 2:
            group_.create_task(stay(words), name="client that stays")
        for _ in states * 2:
            await ready.acquire()
        stand.drain.begin(stand.server.leave)
