"""One vLLM server over HTTP: what it can do, and streams of ids from `/v1/completions`.

Each request has a connection of its own. After a status 400 vLLM resets the next request on the
same connection, and a server that was restarted resets all old ones; a fresh connection within a
rack costs a fraction of a millisecond. Closing it is also what aborts a request.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx

from step_audio.core.errors import (
    EngineError,
    EngineFull,
    EngineGone,
    EngineLost,
    EngineRefused,
)
from step_audio.core.types import BATCH

_MOST_LINE_BYTES: Final = 8 * 2**20
_MOST_REPLY_BYTES: Final = 2**20
_MOST_WHY_CHARS: Final = 300
_CUT: Final = (httpx.NetworkError, httpx.ProtocolError, httpx.ConnectTimeout)
"""No connection, or one that broke: a server that is late or full keeps its connections."""
_FULL: Final = frozenset({429, 503})
_TRY_ELSEWHERE: Final = frozenset({408, 425, 500, 502, 504})


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a server can do, as its answers to a few tiny requests showed.

    Attributes:
        max_len: most ids of prompt and answer together.
        ids: it returns ids; else only text, whose ids must be found again.
        rules: it has the logits processor of `step_audio.vllm_plugin`.
        priority: it schedules by priority.
    """

    max_len: int
    ids: bool
    rules: bool
    priority: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """What came at once: `ids` is None where the server returns only text."""

    ids: tuple[int, ...] | None
    text: str
    finished: bool


def connection(api_key: str | None = None, *, connect_timeout_s: float = 1.0) -> httpx.AsyncClient:
    """Return the client that servers share; who waits for an answer sets the other time-outs."""
    return httpx.AsyncClient(
        headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        timeout=httpx.Timeout(None, connect=connect_timeout_s, write=10.0),
        trust_env=False,  # no proxy between a gateway and its engine unless the profile says so
    )


class VllmServer:
    """A server at one address, serving one model.

    Every method raises EngineLost when the server fails or is late, EngineGone when it is not there
    or breaks off, and EngineRefused for what it will refuse again.
    """

    def __init__(self, address: str, model: str, client: httpx.AsyncClient) -> None:
        self.address = address.rstrip("/")
        self._model, self._client = model, client

    async def healthy(self, timeout_s: float = 2.0) -> bool:
        """Return whether the server says that its engine runs."""
        try:
            reply = await self._client.get(f"{self.address}/health", timeout=timeout_s)
        except httpx.HTTPError:
            return False
        return reply.is_success

    async def probe(self, vocab_id: int) -> Abilities:
        """Find out what the server can do, by asking for one id after `vocab_id`."""
        max_len = await self._max_len()
        ask = {"prompt": [vocab_id], "max_tokens": 1, "temperature": 0, "return_token_ids": True}
        plain = await self._complete(ask)
        refused_form, ranked = await asyncio.gather(
            self._refuses({**ask, "vllm_xargs": {"form": "no such form"}}),
            self._refuses({**ask, "priority": BATCH}),
        )
        return Abilities(
            max_len=max_len,
            ids=isinstance(plain.get("token_ids"), list),
            rules=refused_form,
            priority=not ranked,
        )

    async def stream(self, ask: Mapping[str, Any]) -> AsyncGenerator[Piece, None]:
        """Yield pieces up to the one that is `finished`; closing aborts the request."""
        async with (
            self._open("POST", "/v1/completions", {**ask, "stream": True}) as reply,
            aclosing(_events(reply, self.address)) as events,
        ):
            async for event in events:
                piece = _piece(event, self.address)
                if piece is not None:
                    yield piece
                    if piece.finished:
                        return
        raise EngineLost(self.address, "it stopped without saying why")

    async def complete(self, ask: Mapping[str, Any]) -> None:
        """Run a request whose answer is not wanted."""
        await self._complete(ask)

    async def prompt_log_probabilities(self, ask: Mapping[str, Any]) -> list[float]:
        """Return the log-probability of each id of a prompt, 0 for the first; [] without any."""
        choice = await self._complete(ask)
        listed = choice.get("prompt_logprobs")
        if not isinstance(listed, list) or len(listed) != len(ask["prompt"]):
            return []
        found = []
        for token_id, entry in zip(ask["prompt"], listed, strict=True):
            match entry:
                case None:
                    found.append(0.0)
                case {**by_id} if isinstance(known := by_id.get(str(token_id)), dict):
                    found.append(float(known.get("logprob", 0.0)))
                case _:
                    return []
        return found

    async def _complete(self, ask: Mapping[str, Any]) -> dict[str, Any]:
        """Return the first choice of a request that does not stream."""
        reply = await self._json("POST", "/v1/completions", dict(ask))
        match reply:
            case {"choices": [dict(choice), *_]}:
                return choice
            case _:
                raise EngineLost(self.address, "a completion without choices")

    async def _refuses(self, ask: Mapping[str, Any]) -> bool:
        try:
            await self._complete(ask)
        except EngineRefused:
            return True
        return False

    async def _max_len(self) -> int:
        reply = await self._json("GET", "/v1/models", None)
        models = reply.get("data")
        for model in models if isinstance(models, list) else ():
            if isinstance(model, dict) and model.get("id") == self._model:
                length = model.get("max_model_len")
                if isinstance(length, int) and length > 0:
                    return length
        names = [model.get("id") for model in models or () if isinstance(model, dict)]
        raise EngineRefused(self.address, 404, f"it serves {names}, not {self._model!r}")

    async def _json(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        async with self._open(method, path, body) as reply:
            content = await _content(reply)
        try:
            data = json.loads(content)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            raise EngineLost(self.address, f"{path} is not a JSON object")
        return data

    @asynccontextmanager
    async def _open(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> AsyncGenerator[httpx.Response, None]:
        """Send a request and give its reply while it streams, checked to be a success."""
        content = None if body is None else {"model": self._model, **body}
        try:
            async with self._client.stream(method, self.address + path, json=content) as reply:
                if not reply.is_success:
                    raise _failure(self.address, reply.status_code, await _content(reply))
                yield reply
        except httpx.HTTPError as error:
            why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            cut = isinstance(error, _CUT)
            raise (EngineGone if cut else EngineLost)(self.address, why[:_MOST_WHY_CHARS]) from None


async def _events(reply: httpx.Response, where: str) -> AsyncGenerator[bytes, None]:
    """Yield the data of each event, up to `[DONE]`."""
    rest = b""
    async for data in reply.aiter_bytes():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            name, _, value = line.partition(b":")
            if name == b"data":
                if value.strip() == b"[DONE]":
                    return
                yield value
        if len(rest) > _MOST_LINE_BYTES:
            raise EngineLost(where, f"a line longer than {_MOST_LINE_BYTES} bytes")


def _piece(data: bytes, where: str) -> Piece | None:
    """Return one event's piece, None for an event without a choice (usage)."""
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        raise EngineLost(where, "an event that is not JSON") from None
    match event:
        case {"error": error}:
            raise EngineLost(where, _why(error))
        case {"choices": []}:
            return None
        case {"choices": [dict(choice), *_]}:
            ids, text = choice.get("token_ids"), choice.get("text")
            reason = choice.get("finish_reason")
            if reason not in (None, "stop", "length"):
                raise EngineLost(where, f"it ended the answer: {str(reason)[:40]}")
            listed = tuple(ids) if isinstance(ids, list) else None
            if listed and not all(type(token_id) is int for token_id in listed):
                raise EngineLost(where, "ids that are not integers")
            return Piece(listed, text if isinstance(text, str) else "", reason is not None)
        case _:
            raise EngineLost(where, "an event that is no completion")


async def _content(reply: httpx.Response) -> bytes:
    """Return a reply's body, cut where it gets too long."""
    content = b""
    async for data in reply.aiter_bytes():
        content += data
        if len(content) > _MOST_REPLY_BYTES:
            break
    return content


def _failure(where: str, status: int, content: bytes) -> EngineError:
    """Return the error that a status other than success means."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    why = _why(body.get("error", body) if isinstance(body, dict) else body)
    if status in _FULL:
        return EngineFull(where, f"status {status}: {why}")
    if status in _TRY_ELSEWHERE:
        return EngineLost(where, f"status {status}: {why}")
    return EngineRefused(where, status, why)


def _why(error: object) -> str:
    """Return what a server's error says, as one short line."""
    message = error.get("message") if isinstance(error, dict) else error
    words = " ".join(str(message or "no reason given").split())
    return words[:_MOST_WHY_CHARS]
