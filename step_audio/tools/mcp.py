"""Tools of an MCP server, by its address. The `mcp` package is imported when first connected.

One connection is shared by all calls and opened again when it broke. A task of its own holds it,
because the package wants a connection closed by the task that opened it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from step_audio.core.cancellation import asked_to_stop
from step_audio.core.errors import ToolError, ToolLate
from step_audio.core.ports import ToolSpec
from step_audio.core.types import ToolCall, ToolResult

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult

_LOG = logging.getLogger(__name__)

MAX_TOOLS: Final = 128
MAX_ARGUMENT_CHARS: Final = 10_000
MAX_RESULT_CHARS: Final = 8000


@dataclass(frozen=True, slots=True)
class McpAddress:
    """Where an MCP server is.

    Attributes:
        name: of the server, for logs and for tools whose names are taken.
        url: of its streamable HTTP endpoint, mostly ending in /mcp.
        token: bearer token it asks for.
        tools: names of the tools to take; None: all.
        timeout_s: for connecting, and for each call.
    """

    name: str
    url: str
    token: str | None = None
    tools: frozenset[str] | None = None
    timeout_s: float = 10.0


class McpTools:
    """A `ToolBox` behind one MCP server; until that is reached, a box without tools."""

    def __init__(self, address: McpAddress, *, retry_s: float = 15.0) -> None:
        """Args: `retry_s`: how often a server that was away at the start is tried again."""
        self._address, self._retry_s = address, retry_s
        self._retrying: asyncio.Task[None] | None = None
        self._specs: tuple[ToolSpec, ...] = ()
        self._link: _Link | None = None
        self._connecting = asyncio.Lock()

    async def start(self) -> None:
        """Connect and read the list of tools. A server that is away is tried again and again.

        Else no model would ever be told of its tools, and none would call them.
        """
        error = await self._reach()
        if error is not None:
            _LOG.warning(
                "MCP server not reached", extra={"server": self._address.name, "error": error}
            )
            self._retrying = asyncio.create_task(self._retry(), name="mcp.retry")

    async def _reach(self) -> str | None:
        """Connect; return what went wrong, None for nothing."""
        try:
            async with asyncio.timeout(self._address.timeout_s):
                await self._connected()
        except (ToolError, TimeoutError) as error:
            return str(error) or "time-out"
        except asyncio.CancelledError:  # the package lets those of its own tasks out
            if asked_to_stop():
                raise
            return "cancelled from within"
        return None

    async def _retry(self) -> None:
        error: str | None = "not yet"
        while error is not None:
            await asyncio.sleep(self._retry_s)
            error = await self._reach()
        _LOG.info("MCP server reached", extra={"server": self._address.name})

    async def aclose(self) -> None:
        """Close the connection, and look for none any more."""
        if self._retrying is not None:
            self._retrying.cancel()
            await asyncio.wait([self._retrying])
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    def specs(self) -> Sequence[ToolSpec]:
        """Return the tools that the server had when it was last connected."""
        return self._specs

    async def call(self, call: ToolCall) -> ToolResult:
        """Carry out a call.

        Raises:
            ToolError: unknown tool, arguments that are no JSON object, a server that is away, late
                or refuses; the message is fit for the model.
        """
        arguments = _arguments(call)
        try:
            async with asyncio.timeout(self._address.timeout_s):
                link = await self._connected()
                if call.name not in {spec.name for spec in self._specs}:
                    raise ToolError(f"unknown tool {call.name[:40]!r}")
                result = await self._ask(link, call.name, arguments)
        except TimeoutError:
            raise ToolLate(
                f"{self._address.name} did not answer in {self._address.timeout_s:g} s"
            ) from None
        return ToolResult(call.call_id, call.name, _output(result))

    async def _ask(self, link: _Link, name: str, arguments: dict[str, Any]) -> CallToolResult:
        from mcp import MCPError  # noqa: PLC0415
        from mcp.types import CONNECTION_CLOSED  # noqa: PLC0415

        try:
            return await link.client.call_tool(name, arguments)
        except MCPError as refused:
            if refused.code != CONNECTION_CLOSED:
                raise ToolError(f"{self._address.name}: {refused.message[:500]}") from None
        except Exception:  # the package raises whatever its transport raised
            _LOG.warning("MCP call failed", extra={"server": self._address.name}, exc_info=True)
        if self._link is link:
            self._link = None
            await link.close()
        raise ToolError(f"{self._address.name} broke off")

    async def _connected(self) -> _Link:
        async with self._connecting:
            if self._link is None or self._link.over:
                link = _Link(self._address)
                try:
                    await link.opened()
                    listed = await link.client.list_tools()
                except BaseException as error:
                    await link.close()
                    if isinstance(error, Exception) and not isinstance(error, TimeoutError):
                        raise ToolError(f"{self._address.name} is not reached") from None
                    raise
                wanted = self._address.tools
                self._specs = tuple(
                    ToolSpec(tool.name, tool.description or "", tool.input_schema)
                    for tool in listed.tools[:MAX_TOOLS]
                    if wanted is None or tool.name in wanted
                )
                self._link = link
            return self._link


class _Link:
    """One connection, held open by a task of its own."""

    client: Client

    def __init__(self, address: McpAddress) -> None:
        self._address = address
        self._open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._leave = asyncio.Event()
        self._task = asyncio.create_task(self._hold(), name=f"mcp.{address.name}")

    @property
    def over(self) -> bool:
        """Whether the connection has ended."""
        return self._task.done()

    async def opened(self) -> None:
        """Wait for the connection. Raises what opening it raised."""
        await asyncio.shield(self._open)

    async def close(self) -> None:
        """End the connection; a peer that does not let go is left."""
        self._leave.set()
        _, pending = await asyncio.wait([self._task], timeout=2.0)
        if pending:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._open.done() and not self._open.cancelled():
            self._open.exception()  # seen, so that nobody warns of it

    async def _hold(self) -> None:
        import httpx2  # noqa: PLC0415 - mcp's own HTTP client; heavy, as mcp is
        from mcp import Client  # noqa: PLC0415
        from mcp.client.streamable_http import streamable_http_client  # noqa: PLC0415

        address = self._address
        headers = {"authorization": f"Bearer {address.token}"} if address.token else {}
        try:
            async with AsyncExitStack() as stack:
                http = await stack.enter_async_context(
                    httpx2.AsyncClient(headers=headers, timeout=address.timeout_s)
                )
                transport = streamable_http_client(address.url, http_client=http)
                self.client = await stack.enter_async_context(Client(transport, cache=None))
                self._open.set_result(None)
                await self._leave.wait()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if self._open.done():
                _LOG.info("MCP connection ended", extra={"server": address.name})
            else:
                self._open.set_exception(ToolError(f"{address.name}: {error}"))
        finally:
            if not self._open.done():
                self._open.cancel()


def _arguments(call: ToolCall) -> dict[str, Any]:
    """Return the arguments; the server checks them against its own schema."""
    if len(call.arguments) > MAX_ARGUMENT_CHARS:
        raise ToolError(f"{call.name[:40]}: the arguments are too long")
    try:
        values = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        raise ToolError(f"{call.name[:40]}: the arguments are not JSON") from None
    if not isinstance(values, dict):
        raise ToolError(f"{call.name[:40]}: the arguments must be a JSON object")
    return values


def _output(result: CallToolResult) -> str:
    """Return a result as JSON text. Raises ToolError: it says that the tool failed."""
    pieces = [getattr(block, "text", f"[{block.type}]") for block in result.content]
    text = "\n".join(pieces)[:MAX_RESULT_CHARS]
    if result.is_error:
        raise ToolError(text or "the tool failed")
    if result.structured_content is not None:
        whole = json.dumps(result.structured_content, ensure_ascii=False, separators=(",", ":"))
        if len(whole) <= MAX_RESULT_CHARS:
            return whole
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return json.dumps({"result": text}, ensure_ascii=False, separators=(",", ":"))
    return text
