"""vLLM's HTTP face on a real socket, with every way a server can fail. No model behind it.

What it answers is what vLLM 0.24 answered: shapes of events, errors and statuses are recorded
from a real one (make test-vllm runs the same client against that).
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

Fault = Literal[
    "status 400",
    "status 401",
    "status 503",
    "reset before the answer",
    "closed before the answer",
    "no answer",
    "no first id",
    "not http",
    "not json",
    "error event",
    "reset after ids",
    "closed after ids",
    "stops after ids",
    "error after ids",
    "ends without reason",
    "id out of range",
]

Answering = Callable[[dict[str, Any]], Sequence[int]]


@dataclass
class FakeVllm:
    """Answers each request with `answer(body)`, unless a fault is next in `faults`.

    Attributes:
        aborted: request ids of streams that the client left before their end; `left` tells.
        asked: set by the first stream.
        after: ids before a fault in the middle of an answer.
        pause_s: between ids.
        text: what a server without ids writes for an id.
        logprob: of each id of a prompt.
    """

    answer: Answering = field(default=lambda body: [1005, 1006, 2030, 2031, 2032])
    faults: list[Fault] = field(default_factory=list)
    model: str = "m"
    max_model_len: int = 64
    ids: bool = True
    rules: bool = True
    priority: bool = True
    after: int = 2
    pause_s: float = 0.0
    text: Callable[[int], str] = field(default=lambda token_id: "")
    api_key: str | None = None
    logprob: Callable[[list[int]], float] = field(default=lambda prompt: -1.0)
    requests: list[dict[str, Any]] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    connections: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Address while it runs."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def answers(self) -> list[dict[str, Any]]:
        """Requests that a session sent, without those of a probe."""
        return [body for body in self.requests if body.get("stream")]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FakeVllm]:
        """Listen on a loopback port, the same one again after a restart."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, path, _ = head.split(" ", 2)
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:])
            }
            content = await reader.readexactly(int(headers.get("content-length", "0")))
            if self.api_key and headers.get("authorization") != f"Bearer {self.api_key}":
                _reply(writer, 401, {"error": "Unauthorized"})
            elif method == "GET":
                self._get(path, writer)
            else:
                await self._complete(json.loads(content), reader, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _get(self, path: str, writer: asyncio.StreamWriter) -> None:
        card = {"id": self.model, "object": "model", "max_model_len": self.max_model_len}
        if path == "/v1/models":
            _reply(writer, 200, {"object": "list", "data": [card]})
        else:
            _reply(writer, 200 if path == "/health" else 404, {})

    async def _complete(
        self, body: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.requests.append(body)
        refusal = self._refusal(body)
        if refusal:
            status, message = refusal
            error = {"message": message, "type": "BadRequestError", "param": None, "code": status}
            _reply(writer, status, {"error": error})
        elif not body.get("stream"):
            choice: dict[str, Any] = {"index": 0, "text": "x", "finish_reason": "length"}
            if "prompt_logprobs" in body:
                ids = body["prompt"]
                entries = [
                    {str(i): {"logprob": self.logprob(ids), "rank": 1, "decoded_token": None}}
                    for i in ids[1:]
                ]
                choice["prompt_logprobs"] = [None, *entries]
            _reply(writer, 200, {"choices": [choice | ({"token_ids": [9]} if self.ids else {})]})
        else:
            self.asked.set()
            fault = self.faults.pop(0) if self.faults else None
            if not await self._fails_early(fault, writer):
                await self._stream(body, fault, reader, writer)

    def _refusal(self, body: dict[str, Any]) -> tuple[int, str] | None:
        length = len(body["prompt"]) + body["max_tokens"]
        if body["model"] != self.model:
            return 404, f"The model `{body['model']}` does not exist."
        if self.rules and (body.get("vllm_xargs") or {}).get("form") == "no such form":
            return 400, "form is 'no such form', expected one of answer, text, speech"
        if not self.priority and body.get("priority"):
            return 400, "Got priority 10 but Priority scheduling is not enabled."
        if length > self.max_model_len:
            return 400, f"This model's maximum context length is {self.max_model_len} tokens."
        return None

    async def _fails_early(self, fault: Fault | None, writer: asyncio.StreamWriter) -> bool:
        match fault:
            case "status 400" | "status 401" | "status 503":
                status = int(fault[-3:])
                _reply(writer, status, {"error": {"message": f"as told: {status}"}})
            case "reset before the answer":
                _reset(writer)
            case "closed before the answer":
                pass
            case "not http":
                writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
            case "no answer":
                await asyncio.sleep(60)
            case _:
                return False
        return True

    async def _stream(
        self,
        body: dict[str, Any],
        fault: Fault | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        # The client never sends more: a byte or the end means that it has gone.
        gone = asyncio.create_task(reader.read(1))
        ids = list(self.answer(body))[: body["max_tokens"]]
        try:
            for at, token_id in enumerate(ids):
                last = at == len(ids) - 1
                if await self._fails_at(at, fault, writer):
                    return
                reason = "stop" if token_id in body["stop_token_ids"] else "length"
                known = {"token_ids": [token_id]} if self.ids else {}
                choice = {"index": 0, "text": self.text(token_id), "logprobs": None, **known}
                choice["finish_reason"] = reason if last else None
                _event(writer, {"object": "text_completion", "choices": [choice]})
                await writer.drain()
                if self.pause_s and not last:
                    await asyncio.wait([gone], timeout=self.pause_s)
                if gone.done():
                    self.aborted.append(body["request_id"])
                    self.left.set()
                    return
            _event(writer, None)
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        finally:
            gone.cancel()

    async def _fails_at(self, at: int, fault: Fault | None, writer: asyncio.StreamWriter) -> bool:
        """Play the fault if it is due before id `at`; return True when the answer is over."""
        if at != (0 if fault in ("no first id", "not json", "error event") else self.after):
            return False
        match fault:
            case "no first id" | "stops after ids":
                await asyncio.sleep(60)
            case "not json":
                _chunk(writer, b"data: {{{\n\n")
            case "error event" | "error after ids":
                error = {"message": "EngineCore encountered an issue.", "code": 500}
                _event(writer, {"error": error})
                _event(writer, None)
            case "reset after ids":
                await writer.drain()
                _reset(writer)
            case "closed after ids":
                await writer.drain()
            case "ends without reason":
                writer.write(b"0\r\n\r\n")
            case "id out of range":
                choice = {"index": 0, "text": "", "token_ids": [10**9], "finish_reason": None}
                _event(writer, {"choices": [choice]})
            case _:
                return False
        return True


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side gets a reset."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _reply(writer: asyncio.StreamWriter, status: int, body: object) -> None:
    content = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)


def _event(writer: asyncio.StreamWriter, event: object) -> None:
    data = "[DONE]" if event is None else json.dumps(event)
    _chunk(writer, f"data: {data}\n\n".encode())


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
