"""Tools of a session with a model that is told of them: the client's, and a real MCP server's."""

import json
import time
from collections.abc import Iterator

import pytest
from mcp.server import MCPServer

from step_audio.core.ports import ToolBox
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.prompting.tool_syntax import JsonSchemaSyntax
from step_audio.dialog.settings import DialogSettings
from step_audio.tools.boxes import ToolBoxes
from step_audio.tools.clock import WallClock
from step_audio.tools.general import GeneralTools
from step_audio.tools.mcp import McpAddress, McpTools
from tests.fakes import VOCAB, ScriptedEngine, group, text_ids
from tests.server.conftest import Connect
from tests.server.wire import Event, sound, talking
from tests.tools.loopback import serving

SCHEMAS = DialogSettings(dialect="json_schemas", max_prompt_ids=40_000)
WRITE = JsonSchemaSyntax().write
LAMP = {
    "type": "function",
    "name": "lamp",
    "description": "Switch the lamp.",
    "parameters": {"type": "object", "properties": {"on": {"type": "boolean"}}},
}
ANSWER = interleave(text_ids("Three books."), [group(n) for n in range(3)], VOCAB)


@pytest.fixture
def library() -> Iterator[str]:
    """Address of an MCP server; it outlives the clients, which are closed by their fixture."""
    server = MCPServer("library")

    @server.tool()
    def shelf(row: int) -> dict[str, int]:
        """Count the books of a row."""
        return {"books": row + 1}

    with serving(server.streamable_http_app()) as address:
        yield f"{address}/mcp"


def told(engine: ScriptedEngine, request: int) -> str:
    ids = engine.requests[request].prompt
    return bytes(id_ - 300 for id_ in ids if 300 <= id_ < 556).decode(errors="replace")


def tools_told(engine: ScriptedEngine) -> list[str]:
    listed = told(engine, 0).partition("tool_json_schemas\n")[2].partition("human\n")[0]
    return [tool["function"]["name"] for tool in json.loads(listed)]


def said(events: list[Event]) -> str:
    return "".join(e["delta"] for e in events if e["type"].endswith("_transcript.delta"))


def reached(tools: ToolBox, name: str) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if any(spec.name == name for spec in tools.specs()):
            return True
        time.sleep(0.01)
    return False


def test_an_mcp_servers_tool_is_told_called_and_answered_from(
    library: str, connect: Connect
) -> None:
    call = [*text_ids("I look."), *text_ids(WRITE("shelf", '{"row": 2}'))]
    engine = ScriptedEngine([call, ANSWER])
    boxes = ToolBoxes([GeneralTools(WallClock()), McpTools(McpAddress("library", library))])
    client = connect(engine=engine, tools=boxes, dialog=SCHEMAS)
    assert reached(boxes, "shelf")
    with talking(client) as talk:
        talk.ask()
        talk.send("response.create")
        events = talk.until("response.done")
    assert tools_told(engine)[0] == "get_current_time"
    assert tools_told(engine)[-1] == "shelf"
    assert 'input\n{"books":3}assistant\n' in told(engine, 1)
    assert said(events) == "I look. Three books."
    assert sound(events) > 0
    assert events[-1]["response"]["status"] == "completed"
    (item,) = events[-1]["response"]["output"]
    assert item["content"][0]["transcript"] == "I look. Three books."
    assert "tool_call" not in json.dumps(events)


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_a_clients_function_is_told_and_called_over_the_protocol(
    connect: Connect, choice: str
) -> None:
    engine = ScriptedEngine([text_ids(WRITE("lamp", '{"on": true}')), ANSWER])
    with talking(connect(engine=engine, dialog=SCHEMAS)) as talk:
        session = {"type": "realtime", "tools": [LAMP], "tool_choice": choice}
        talk.send("session.update", session=session)
        talk.until("session.updated")
        talk.ask()
        talk.send("response.create")
        events = talk.until("response.done")
        if choice == "none":
            assert "tool_json_schemas" not in told(engine, 0)
            assert "function_call" not in json.dumps(events)
            return
        assert tools_told(engine) == ["lamp", "get_time"]
        (call,) = events[-1]["response"]["output"]
        assert (call["type"], call["name"]) == ("function_call", "lamp")
        assert json.loads(call["arguments"]) == {"on": True}
        assert (said(events), sound(events)) == ("", 0)
        item = {"type": "function_call_output", "call_id": call["call_id"], "output": '{"ok":1}'}
        talk.send("conversation.item.create", item=item)
        talk.send("response.create")
        assert said(talk.until("response.done")) == "Three books."
    assert f'{WRITE("lamp", call["arguments"])}input\n{{"ok":1}}' in told(engine, 1)


def test_words_and_calls_of_both_sides_in_one_turn_keep_their_order(connect: Connect) -> None:
    both = "Now. " + WRITE("lamp", "{}") + "\n" + WRITE("get_time", "{}")
    engine = ScriptedEngine([text_ids(both), ANSWER])
    with talking(connect(engine=engine, dialog=SCHEMAS)) as talk:
        talk.send("session.update", session={"type": "realtime", "tools": [LAMP]})
        talk.until("session.updated")
        talk.ask()
        talk.send("response.create")
        done = talk.until("response.done")[-1]["response"]
        assert [item["type"] for item in done["output"]] == ["message", "function_call"]
        call = done["output"][1]
        item = {"type": "function_call_output", "call_id": call["call_id"], "output": '{"ok":1}'}
        talk.send("conversation.item.create", item=item)
        talk.send("response.create")
        assert said(talk.until("response.done")) == "Three books."
    assert told(engine, 1).endswith(
        f"Now.{WRITE('lamp', '{}')}{WRITE('get_time', '{}')}"
        'input\n{"ok":1}input\n{"time":"noon"}assistant\n'
    )
