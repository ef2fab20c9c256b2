"""Tools of the server in a session: what they bring is told when nobody speaks."""

import asyncio
import threading
from collections.abc import Sequence

from step_audio.core.ports import ToolSpec
from step_audio.core.types import ToolCall, ToolResult
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.settings import DialogSettings
from step_audio.dialog.tool_calls.background import BackgroundCallSettings
from tests.fakes import VOCAB, ScriptedEngine, group, text_ids
from tests.server.conftest import Connect
from tests.server.wire import Event, talking

CALL = [8, *text_ids("look {}")]
BRIDGE = VOCAB.ids([group(7)])
ANSWER = interleave(text_ids("A bird."), [group(1)] * 2, VOCAB)
OTHER = interleave(text_ids("Yes."), [group(2)], VOCAB)
IMPATIENT = DialogSettings(background_calls=BackgroundCallSettings("One moment.", 0.0, 0.0))


class LateTools:
    """`look` answers when the test says so; `remind` announces at once."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.told: Sequence[ToolSpec] = ()

    def specs(self) -> Sequence[ToolSpec]:
        return self.told

    async def call(self, call: ToolCall) -> ToolResult:
        if call.name == "remind":
            return ToolResult(call.call_id, call.name, '{"ok":true}', 0.0, "Time is up.")
        await asyncio.to_thread(self.gate.wait, 20)
        return ToolResult(call.call_id, call.name, '{"seen":"bird"}')


def said(events: list[Event]) -> str:
    return "".join(
        event["delta"]
        for event in events
        if event["type"] == "response.output_audio_transcript.delta"
    )


def test_a_late_result_is_spoken_unasked_when_the_floor_is_free(connect: Connect) -> None:
    tools, engine = LateTools(), ScriptedEngine([CALL, BRIDGE, OTHER, ANSWER])
    with talking(connect(engine=engine, tools=tools, dialog=IMPATIENT)) as talk:
        talk.ask()
        talk.send("response.create")
        assert said(talk.until("response.done")) == "One moment. "
        talk.ask()  # life goes on meanwhile
        talk.send("response.create")
        assert said(talk.until("response.done")) == "Yes."
        tools.gate.set()
        late = talk.until("response.done")
        assert late[0]["type"] == "response.created"
        assert said(late) == "A bird."
        assert late[-1]["response"]["status"] == "completed"


def test_a_late_result_is_answered_and_not_followed_by_the_call_that_was_required(
    connect: Connect,
) -> None:
    tools, engine = LateTools(), ScriptedEngine([CALL, BRIDGE, ANSWER])
    tools.told = (ToolSpec("look", "Look.", {"type": "object", "properties": {}}),)
    with talking(connect(engine=engine, tools=tools, dialog=IMPATIENT)) as talk:
        talk.send("session.update", session={"type": "realtime", "tool_choice": "required"})
        talk.until("session.updated")
        talk.ask()
        talk.send("response.create")
        talk.until("response.done")
        tools.gate.set()
        assert said(talk.until("response.done")) == "A bird."
        talk.send("session.update", session={"type": "realtime"})
        assert talk.until("session.updated")[-1]["session"]["tool_choice"] == "required"
    first, late = engine.requests[0], engine.requests[-1]
    assert first.calls is not None
    assert first.calls.must
    assert late.calls is None


def test_a_timer_speaks_up_when_it_is_over(connect: Connect) -> None:
    engine = ScriptedEngine([[8, *text_ids("remind {}")], OTHER, BRIDGE])
    with talking(connect(engine=engine, tools=LateTools())) as talk:
        talk.ask()
        talk.send("response.create")
        assert said(talk.until("response.done")) == "Yes."
        rung = talk.until("response.done")
        assert said(rung) == "Time is up."
        assert any(event["type"] == "response.output_audio.delta" for event in rung)
        talk.send("conversation.item.retrieve", item_id=rung[-1]["response"]["output"][0]["id"])
        shown = talk.until("conversation.item.retrieved")[-1]["item"]
        assert shown["content"][0]["transcript"] == "Time is up."


def test_leaving_cancels_what_tools_still_do(connect: Connect) -> None:
    tools = LateTools()
    client = connect([CALL, BRIDGE], tools=tools, dialog=IMPATIENT)
    with talking(client) as talk:
        talk.ask()
        talk.send("response.create")
        talk.until("response.done")
    tools.gate.set()
    assert client.get("/healthz").status_code == 200


def test_calls_of_the_servers_tools_are_shown_to_clients_that_include_them(
    connect: Connect,
) -> None:
    shown: dict[bool, list[Event]] = {}
    include = {"type": "realtime", "include": ["response.builtin_tool_call"]}
    for wanted in (False, True):
        tools, engine = LateTools(), ScriptedEngine([CALL, OTHER])
        tools.gate.set()
        with talking(connect(engine=engine, tools=tools)) as talk:
            talk.send("session.update", session=include if wanted else {"type": "realtime"})
            talk.until("session.updated")
            talk.ask()
            talk.send("response.create")
            shown[wanted] = [e for e in talk.until("response.done") if "builtin" in e["type"]]
    called, done = shown[True]
    assert shown[False] == []
    assert called["type"] == "response.builtin_tool_call.in_progress"
    assert (called["name"], called["arguments"]) == ("look", "{}")
    assert done["type"] == "response.builtin_tool_call.done"
    assert (done["call_id"], done["output"]) == (called["call_id"], '{"seen":"bird"}')
