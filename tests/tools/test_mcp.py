"""The real thing: a server of the `mcp` package, over HTTP on loopback."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from mcp.server import MCPServer

from step_audio.core.errors import ToolError, ToolLate
from step_audio.core.ports import ToolSpec
from step_audio.core.types import ToolCall
from step_audio.tools.arguments import check_arguments
from step_audio.tools.boxes import ToolBoxes
from step_audio.tools.clock import WallClock
from step_audio.tools.general import GeneralTools
from step_audio.tools.mcp import McpAddress, McpTools
from tests.tools.loopback import serving


def library() -> MCPServer:
    server = MCPServer("library")

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool()
    def greet(name: str) -> str:
        """Greet somebody."""
        return f"Hello {name}"

    @server.tool()
    def shelf() -> dict[str, int]:
        """Count the books."""
        return {"books": 3}

    @server.tool()
    def burn() -> str:
        """Fail."""
        raise ValueError("books do not burn here")

    @server.tool()
    async def search() -> str:
        """Take long."""
        await asyncio.sleep(30)
        return "found"

    @server.tool()
    def get_current_time() -> str:
        """Clash with a built-in name."""
        return "never"

    return server


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(library().streamable_http_app()) as address:
        yield f"{address}/mcp"


async def ask(tools: McpTools | ToolBoxes, name: str, arguments: str = "{}") -> str:
    return (await tools.call(ToolCall("c1", name, arguments))).output


async def test_tools_are_listed_and_called(url: str) -> None:
    tools = McpTools(McpAddress("library", url))
    await tools.start()
    specs = {spec.name: spec for spec in tools.specs()}
    assert specs["add"].description == "Add two numbers."
    assert set(specs["add"].parameters["properties"]) == {"a", "b"}
    assert json.loads(await ask(tools, "add", '{"a":2,"b":3}')) == {"result": 5}
    assert json.loads(await ask(tools, "greet", '{"name":"Ann"}')) == {"result": "Hello Ann"}
    assert json.loads(await ask(tools, "shelf")) == {"books": 3}
    await tools.aclose()


async def test_calls_run_side_by_side_on_one_connection(url: str) -> None:
    tools = McpTools(McpAddress("library", url))
    outputs = await asyncio.gather(
        *(ask(tools, "add", json.dumps({"a": n, "b": 0})) for n in range(8))
    )
    assert [json.loads(output)["result"] for output in outputs] == list(range(8))
    await tools.aclose()


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("burn", "{}", "burn"),
        ("add", '{"a":"x"}', "a"),
        ("nothing", "{}", "unknown tool"),
        ("add", "[1]", "JSON object"),
        ("add", "{", "not JSON"),
        ("add", '{"a":"' + "1" * 20_000 + '"}', "too long"),
    ],
)
async def test_what_goes_wrong_is_a_tool_error(
    url: str, name: str, arguments: str, said: str
) -> None:
    tools = McpTools(McpAddress("library", url))
    with pytest.raises(ToolError, match=said):
        await ask(tools, name, arguments)
    assert json.loads(await ask(tools, "shelf")) == {"books": 3}  # the connection still works
    await tools.aclose()


async def test_a_late_answer_is_a_time_out_and_the_connection_lives_on(url: str) -> None:
    tools = McpTools(McpAddress("library", url, timeout_s=1.0))
    with pytest.raises(ToolLate, match="1 s"):
        await ask(tools, "search")
    assert json.loads(await ask(tools, "shelf")) == {"books": 3}
    await tools.aclose()


async def test_only_the_tools_asked_for_are_taken(url: str) -> None:
    tools = McpTools(McpAddress("library", url, tools=frozenset({"shelf"})))
    await tools.start()
    assert [spec.name for spec in tools.specs()] == ["shelf"]
    with pytest.raises(ToolError, match="unknown tool"):
        await ask(tools, "add", '{"a":1,"b":1}')
    await tools.aclose()


async def test_a_server_that_is_away_is_told_and_found_when_it_is_back() -> None:
    with serving(library().streamable_http_app()) as address:
        tools = McpTools(McpAddress("library", f"{address}/mcp", timeout_s=5.0))
        await tools.start()
    with pytest.raises(ToolError, match="broke off"):
        await ask(tools, "shelf")
    with pytest.raises(ToolError, match="not reached"):
        await ask(tools, "shelf")
    with serving(library().streamable_http_app(), int(address.rpartition(":")[2])):
        assert json.loads(await ask(tools, "shelf")) == {"books": 3}
        await tools.aclose()


async def test_a_server_that_was_never_there_leaves_the_box_empty() -> None:
    tools = McpTools(McpAddress("nowhere", "http://127.0.0.1:9/mcp", timeout_s=5.0))
    await tools.start()
    assert not tools.specs()
    await tools.aclose()


async def test_a_server_that_comes_later_is_found_without_a_call() -> None:
    with serving(library().streamable_http_app()) as address:
        pass  # an address where nobody is, yet
    tools = McpTools(McpAddress("library", f"{address}/mcp", timeout_s=5.0), retry_s=0.05)
    await tools.start()
    assert not tools.specs()
    with serving(library().streamable_http_app(), int(address.rpartition(":")[2])):
        for _ in range(2000):
            if tools.specs():
                break
            await asyncio.sleep(0.01)
        assert json.loads(await ask(tools, "shelf")) == {"books": 3}
        await tools.aclose()


async def test_a_server_that_stays_away_is_left_in_peace_after_the_end() -> None:
    tools = McpTools(McpAddress("nowhere", "http://127.0.0.1:9/mcp"), retry_s=0.01)
    await tools.start()
    await asyncio.sleep(0.05)
    await tools.aclose()
    assert not [task for task in asyncio.all_tasks() if "mcp" in task.get_name()]


async def test_boxes_are_one_box_and_the_first_has_a_name(url: str) -> None:
    boxes = ToolBoxes([GeneralTools(WallClock()), McpTools(McpAddress("library", url))])
    await boxes.start()
    names = [spec.name for spec in boxes.specs()]
    assert names[:2] == ["get_current_time", "calculate"]
    assert "shelf" in names
    assert names.count("get_current_time") == 1
    assert json.loads(await ask(boxes, "calculate", '{"expression":"1+1"}')) == {"result": 2}
    assert "weekday" in await ask(boxes, "get_current_time")
    assert json.loads(await ask(boxes, "shelf")) == {"books": 3}
    with pytest.raises(ToolError, match="unknown tool 'nothing'"):
        await ask(boxes, "nothing")
    await boxes.aclose()


async def test_a_box_has_a_time_limit_of_its_own(url: str) -> None:
    boxes = ToolBoxes([McpTools(McpAddress("library", url))], timeout_s=1.0)
    await boxes.start()
    with pytest.raises(ToolLate, match="search took longer than 1 s"):
        await ask(boxes, "search")
    await boxes.aclose()


def test_the_package_is_not_imported_before_a_server_is_asked() -> None:
    code = "import sys, step_audio.tools.mcp, step_audio.tools.boxes; print('mcp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


async def test_arguments_that_do_not_fit_the_schema_never_reach_the_server(url: str) -> None:
    remote = McpTools(McpAddress("library", url))
    boxes = ToolBoxes([remote])
    await boxes.start()
    try:
        good = await boxes.call(ToolCall("1", "add", '{"a":1,"b":2}'))
        assert "3" in good.output
        for arguments, told in (
            ('{"a":1}', "'b' is a required property"),
            ('{"a":1,"b":"two"}', "argument 'b': 'two' is not of type 'integer'"),
            ("{", "not JSON"),
        ):
            with pytest.raises(ToolError, match=told):
                await boxes.call(ToolCall("2", "add", arguments))
    finally:
        await boxes.aclose()


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "no such type"},
        {"$ref": "http://127.0.0.1:1/schema.json"},
        {"properties": {"a": {"pattern": "("}}},
    ],
)
def test_a_schema_that_is_none_is_passed_over_and_nothing_is_fetched(
    schema: dict[str, object],
) -> None:
    check_arguments(ToolSpec("t", "", schema), '{"a":"b"}')
