"""A client that goes away, played message by message: no socket, no time."""

import asyncio
import json
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from dataclasses import replace
from typing import Any, cast

import pytest

from server.admission.limits import ServerSettings
from server.app import create_app
from step_audio.core.ports import Stage
from step_audio.core.types import GenerationRequest, Pcm, TokenGroup, Voice
from step_audio.dialog.assistant import Assistant
from tests.fakes import VOCAB, ScriptedEngine, SineVocoder, group, services

SPEECH = VOCAB.ids([group(n) for n in range(20)])


class Client:
    """One request; `leave` is the client's end of the connection closing."""

    def __init__(self, path: str, body: dict[str, Any]) -> None:
        self.sent: list[dict[str, Any]] = []
        self.first = asyncio.Event()
        self.leave = asyncio.Event()
        self._body: bytes | None = json.dumps(body).encode()
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "server": ("localhost", 80),
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        }

    async def receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        if message.get("body"):
            self.first.set()


@pytest.mark.parametrize("hold", [0, 5, 90])
async def test_a_client_that_leaves_frees_the_engine_and_its_slot(hold: int) -> None:
    engine = ScriptedEngine([SPEECH], hold=hold)
    app = create_app(Assistant(services(engine)), ServerSettings(max_sessions=1), web=None)
    body = {"input": "Hello.", "response_format": "pcm"}
    gone = Client("/v1/audio/speech", body)
    async with asyncio.timeout(20):
        answered = asyncio.create_task(app(gone.scope, gone.receive, gone.send))
        await (gone.first.wait() if hold == 90 else engine.started.wait())
        gone.leave.set()
        await answered
        assert engine.aborted == [engine.requests[0].request_id]
        # The only slot is free again.
        engine.resume.set()
        stays = Client("/v1/audio/speech", body)
        await app(stays.scope, stays.receive, stays.send)
    assert stays.sent[0]["status"] == 200
    assert sum(len(m.get("body", b"")) for m in stays.sent) == 20 * 2 * 960 * 3


async def test_a_client_that_takes_nothing_is_given_up() -> None:
    engine = ScriptedEngine([SPEECH], hold=90)
    settings = ServerSettings(send_timeout_s=0.05)
    app = create_app(Assistant(services(engine)), settings, web=None)
    slow = Client("/v1/audio/speech", {"input": "Hello.", "response_format": "pcm"})

    async def never(message: Any) -> None:
        await asyncio.Event().wait()

    async with asyncio.timeout(20):
        await app(slow.scope, slow.receive, never)
    assert engine.aborted


class LoggedVocoder(SineVocoder):
    """Writes down when its streams are fed and let go; each window lasts until `go_on` is set."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self._log = log
        self._loop = asyncio.get_running_loop()
        self.fed, self.let_go = asyncio.Event(), asyncio.Event()
        self.go_on = threading.Event()

    def open(self, voice: Voice, seed: int = 0) -> Stage[TokenGroup, Pcm]:
        stage = _LoggedStage(super().open(voice, seed), self)
        weakref.finalize(stage, self.note, "voice let go", self.let_go)
        return stage

    def note(self, entry: str, event: asyncio.Event) -> None:
        """Write an entry down, from whichever thread."""
        self._log.append(entry)
        self._loop.call_soon_threadsafe(event.set)


class _LoggedStage:
    def __init__(self, inner: Stage[TokenGroup, Pcm], vocoder: LoggedVocoder) -> None:
        self._inner, self._vocoder = inner, vocoder

    def push(self, item: TokenGroup, /) -> Iterable[Pcm]:
        self._vocoder.note("voice fed", self._vocoder.fed)
        self._vocoder.go_on.wait(20)
        return self._inner.push(item)

    def flush(self) -> Iterable[Pcm]:
        return self._inner.flush()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/audio/speech", {"input": "Hello.", "response_format": "pcm"}),
        ("/v1/audio/speech", {"input": "Hello.", "stream_format": "sse"}),
        ("/v1/audio/speech", {"input": "Hello.", "stream": False}),
        (
            "/v1/chat/completions",
            {
                "messages": [{"role": "user", "content": "Hello."}],
                "modalities": ["text", "audio"],
                "audio": {"format": "pcm16"},
                "stream": True,
            },
        ),
    ],
    ids=["audio", "sse", "whole", "chat"],
)
async def test_leaving_ends_the_engine_and_the_request_amid_a_window_of_the_voice(
    path: str, body: dict[str, Any]
) -> None:
    log: list[str] = []

    class Engine(ScriptedEngine):
        async def generate(self, request: GenerationRequest) -> AsyncIterator[int]:
            inner = super().generate(request)
            try:
                async for token_id in inner:
                    yield token_id
            finally:
                await cast("AsyncGenerator[int, None]", inner).aclose()
                log.append("engine ended")

    engine, vocoder = Engine([SPEECH], hold=90), LoggedVocoder(log)
    parts = replace(services(engine), vocoder=vocoder)
    app = create_app(Assistant(parts), ServerSettings(max_sessions=1), web=None)
    gone = Client(path, body)
    async with asyncio.timeout(20):
        answered = asyncio.create_task(app(gone.scope, gone.receive, gone.send))
        await vocoder.fed.wait()
        log.append("client left")
        gone.leave.set()
        await answered
        log.append("request over")
        vocoder.go_on.set()
        await vocoder.let_go.wait()
    assert engine.aborted == [engine.requests[0].request_id]
    assert log == ["voice fed", "client left", "engine ended", "request over", "voice let go"]
