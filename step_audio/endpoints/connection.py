"""HTTP to an OpenAI-compatible server: its address and key, its errors, its event streams.

What a server says is untrusted: lines, events and bodies are bounded, and the key is taken out of
whatever is passed on, since some servers repeat it in their errors.
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from step_audio.core.errors import (
    EngineError,
    EngineGone,
    EngineLost,
    EngineRefused,
    ProfileError,
)
from step_audio.core.profile import (
    ChatSection,
    SpeechEndpointSection,
    TranscriptionEndpointSection,
)

MOST_EVENT_BYTES: Final = 2**20
_MOST_REPLY_BYTES: Final = 2**20
_MOST_WHY_CHARS: Final = 300
_BUSY: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses after which the same request may succeed."""
_LOCAL_NAMES: Final = frozenset({"localhost", "host.docker.internal"})


class EndpointBusy(EngineLost):
    """A server that cannot answer now; `retry_after_s` is what it asks for, None for nothing."""

    def __init__(self, where: str, why: str, retry_after_s: float | None) -> None:
        super().__init__(where, why)
        self.retry_after_s = retry_after_s


class Endpoint:
    """One server.

    Args:
        url: what OpenAI's clients call the base address, such as `http://127.0.0.1:11434/v1`.
        api_key: sent as a bearer token.
        connect_timeout_s: who waits for an answer sets the other time-outs.
    """

    def __init__(
        self, url: str, api_key: str | None = None, *, connect_timeout_s: float = 3.0
    ) -> None:
        self.url = url.rstrip("/")
        self._key = api_key
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
            timeout=httpx.Timeout(None, connect=connect_timeout_s, write=30.0),
            # Keep-alive saves a handshake with a far server; a near one may have been restarted.
            limits=httpx.Limits(
                max_connections=None,
                max_keepalive_connections=0 if is_local(url) else 8,
            ),
            trust_env=not is_local(url),
        )

    @asynccontextmanager
    async def post(
        self,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        files: Mapping[str, Any] | None = None,
        form: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """Open a request; what breaks while its answer is read is an EngineError too.

        Raises:
            EngineGone: nobody answers there, or the connection was cut.
            EndpointBusy: the server cannot answer now.
            EngineRefused: it will refuse this again.
        """
        try:
            async with self._client.stream(
                "POST", self.url + path, json=body, files=files, data=form
            ) as reply:
                if not reply.is_success:
                    raise self._failure(reply, await content(reply, self.url))
                yield reply
        except httpx.HTTPError as error:
            raise self._gone(error) from None

    async def answers(self, timeout_s: float = 2.0) -> bool:
        """Return whether the server is there and takes the key; asks for its models."""
        try:
            reply = await self._client.get(f"{self.url}/models", timeout=timeout_s)
        except httpx.HTTPError:
            return False
        return reply.status_code not in (401, 403) and not reply.is_server_error

    async def models(self, timeout_s: float = 2.0) -> tuple[str, ...]:
        """Return the names of the models that are served, () where the server does not say.

        Raises:
            EngineError: it is not there, or does not take the key.
        """
        try:
            reply = await self._client.get(f"{self.url}/models", timeout=timeout_s)
        except httpx.HTTPError as error:
            raise self._gone(error) from None
        if reply.status_code in (401, 403) or reply.is_server_error:
            raise self._failure(reply, reply.content[:_MOST_REPLY_BYTES])
        match _parsed(reply.content[:_MOST_REPLY_BYTES]):
            case {"data": list(listed)}:
                names = [m.get("id") for m in listed if isinstance(m, dict)]
                return tuple(name for name in names if isinstance(name, str))
            case _:
                return ()

    def lost(self, why: object) -> EngineLost:
        """Return the error for a server that breaks off."""
        return EngineLost(self.url, self._clean(why))

    async def aclose(self) -> None:
        """Close every connection; open requests get an error."""
        await self._client.aclose()

    def _gone(self, error: httpx.HTTPError) -> EngineGone:
        why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return EngineGone(self.url, self._clean(why))

    def _failure(self, reply: httpx.Response, body: bytes) -> EngineError:
        parsed = _parsed(body)
        told = parsed.get("error", parsed) if isinstance(parsed, dict) else parsed
        why = self._clean(told or body[:_MOST_WHY_CHARS].decode(errors="replace"))
        status = reply.status_code
        if status in _BUSY:
            after_s = _retry_after_s(reply.headers.get("retry-after", ""))
            return EndpointBusy(self.url, f"status {status}: {why}", after_s)
        if status == 404 and not self.url.endswith("/v1"):
            why += "; most servers want an address that ends in /v1"
        return EngineRefused(self.url, status, why)

    def _clean(self, told: object) -> str:
        """Return what a server's error says, as one short line without the key."""
        message = told.get("message", told) if isinstance(told, dict) else told
        words = " ".join(str(message or "no reason given").split())[:_MOST_WHY_CHARS]
        return words.replace(self._key, "***") if self._key else words


async def events(reply: httpx.Response, where: str) -> AsyncGenerator[Any, None]:
    """Yield the JSON of each server-sent event, None for `[DONE]`, which is the last.

    Comments (keep-alives), ids and empty events are skipped; data on several lines is joined.

    Raises:
        EngineLost: an event that is not JSON, or too long.
    """
    rest, held, size = b"", list[bytes](), 0
    async for piece in _with_end(reply.aiter_bytes()):
        *lines, rest = (rest + piece).replace(b"\r\n", b"\n").split(b"\n")
        size = sum(map(len, held)) + len(rest)
        for line in lines:
            name, _, value = line.rstrip(b"\r").partition(b":")
            if name == b"data":
                held.append(value.removeprefix(b" "))
            elif not line.strip() and held:
                data, held = b"\n".join(held), []
                if data.strip() == b"[DONE]":
                    yield None
                    return
                if data.strip():
                    yield _event(data, where)
        if size > MOST_EVENT_BYTES:
            raise EngineLost(where, f"an event longer than {MOST_EVENT_BYTES} bytes")


async def content(reply: httpx.Response, where: str) -> bytes:
    """Return a body, cut where it gets too long. Raises EngineGone."""
    body = b""
    try:
        async for data in reply.aiter_bytes():
            body += data
            if len(body) > _MOST_REPLY_BYTES:
                break
    except httpx.HTTPError as error:
        raise EngineGone(where, type(error).__name__) from None
    return body


def endpoint_of(
    section: ChatSection | TranscriptionEndpointSection | SpeechEndpointSection,
) -> Endpoint:
    """Return the server that a part of a profile names.

    Raises:
        ProfileError: the file of its key cannot be read.
    """
    key = section.api_key.get_secret_value() if section.api_key else None
    if key is None and section.api_key_file is not None:
        path = section.api_key_file.expanduser()
        try:
            key = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            raise ProfileError(f"cannot read the key in {path}: {why}") from None
    return Endpoint(section.url, key or None)


def is_local(url: str) -> bool:
    """Return whether an address is of this machine or a private network: nobody is paid there."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host in _LOCAL_NAMES or "." not in host or host.endswith((".local", ".internal"))
    return not address.is_global  # 100.64.0.0/10 too, where overlay networks are


async def _with_end(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield pieces, and the blank line that a last event may lack."""
    async for piece in pieces:
        yield piece
    yield b"\n\n"


def _event(data: bytes, where: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise EngineLost(where, "an event that is not JSON") from None


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _retry_after_s(header: str) -> float | None:
    """Return what a Retry-After header asks for; a date counts from the answer's own."""
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(header)
    except (TypeError, ValueError):
        return None
    return max(0.0, when.timestamp() - time.time())
