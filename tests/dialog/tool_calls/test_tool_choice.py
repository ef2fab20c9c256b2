"""Calls that a client asks for, or forbids: in the request, in the prompt, in the books."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from step_audio.core.ports import ToolSpec
from step_audio.core.types import CallRule, TextDelta, ToolCall
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.conversation import Conversation, UserAudio
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.prompting.tool_syntax import JsonSchemaSyntax
from step_audio.dialog.response.pipeline import AnswerEvent
from step_audio.dialog.settings import DialogSettings
from step_audio.dialog.tool_calls.tool_choice import ToolChoice
from tests.fakes import VOCAB, MemoryRecorder, ScriptedEngine, group, services, text_ids

LAMP = ToolSpec("lamp", "", {})
DOOR = ToolSpec("door", "", {})
ANSWER = interleave(text_ids("It is noon."), [group(1)], VOCAB)
PUBLISHED = replace(VOCAB, heard_open=None, heard_close=None, call=None)
REQUIRED, NONE = ToolChoice("required"), ToolChoice("none")
WRITE = JsonSchemaSyntax().write


class Bench:
    def __init__(self, *scripts: list[int], schemas: bool = False) -> None:
        self.engine, self.recorder = ScriptedEngine(scripts), MemoryRecorder()
        parts = replace(services(self.engine), recorder=self.recorder)
        parts = replace(parts, vocab=PUBLISHED) if schemas else parts
        dialect = "json_schemas" if schemas else "nano"
        self.assistant = Assistant(parts, DialogSettings(dialect=dialect))
        self.talk = Conversation()
        self.talk.add(UserAudio("q", (group(7),)))

    async def answer(
        self, choice: ToolChoice, tools: tuple[ToolSpec, ...] = ()
    ) -> list[AnswerEvent]:
        events = self.assistant.answer(self.talk, client_tools=tools, choice=choice)
        return await collect(events)

    def rules(self) -> list[CallRule | None]:
        return [request.calls for request in self.engine.requests]

    def asked(self, at: int = 0) -> str:
        ids = self.engine.requests[at].prompt
        return bytes(i - 300 for i in ids if 300 <= i < 556).decode()


async def collect(events: AsyncIterator[AnswerEvent]) -> list[AnswerEvent]:
    return [event async for event in events]


def calls(events: list[AnswerEvent]) -> list[tuple[str, str]]:
    return [(e.name, e.arguments) for e in events if isinstance(e, ToolCall)]


def openings(*names: str) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(text_ids(n + rest)) for n in names for rest in (' {"', " {}"))


async def test_a_required_call_is_one_of_the_clients_tools() -> None:
    bench = Bench([8, *text_ids("door {}")])
    events = await bench.answer(REQUIRED, (LAMP, DOOR))
    assert bench.rules() == [CallRule(must=True, openings=openings("lamp", "door"))]
    assert calls(events) == [("door", "{}")]


async def test_a_named_function_is_the_only_one_that_may_be_called() -> None:
    bench = Bench([8, *text_ids("door {}")])
    await bench.answer(ToolChoice("required", ("door",)), (LAMP, DOOR))
    assert bench.rules() == [CallRule(must=True, openings=openings("door"))]


async def test_without_tools_of_the_client_a_required_call_is_one_of_the_servers() -> None:
    bench = Bench([8, *text_ids("get_time {}")], ANSWER)
    await bench.answer(REQUIRED)
    # The result may be answered: the next round is free.
    assert bench.rules() == [CallRule(must=True, openings=openings("get_time")), None]


async def test_a_choice_that_no_tool_can_meet_leaves_the_model_free() -> None:
    bench = Bench(ANSWER)
    await bench.answer(ToolChoice("required", ("nothing",)))
    assert bench.rules() == [None]


async def test_calls_are_forbidden_to_both_sides_tools() -> None:
    bench = Bench(ANSWER)
    await bench.answer(NONE, (LAMP,))
    assert bench.rules() == [CallRule(must=False)]


@pytest.mark.parametrize("schemas", [False, True])
async def test_a_call_in_spite_of_everything_is_neither_made_nor_written(schemas: bool) -> None:
    # An engine without the rules, or a model that calls a tool nobody told it of.
    written = text_ids(WRITE("get_time", "{}")) if schemas else [8, *text_ids("get_time {}")]
    bench = Bench(written, ANSWER, schemas=schemas)
    assert calls(await bench.answer(NONE)) == []
    assert [type(item) for item in bench.talk] == [UserAudio]
    assert ("tool_choices.dropped", 1) in bench.recorder.seen


async def test_a_required_call_that_does_not_come_is_counted() -> None:
    bench = Bench(ANSWER)
    events = await bench.answer(REQUIRED, (LAMP,))
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == "It is noon."
    assert ("tool_choices.unmet", 1) in bench.recorder.seen


async def test_where_calls_stand_in_text_the_turn_begins_with_the_call() -> None:
    bench = Bench(text_ids('lamp\n{"on": true}</tool_call>'), schemas=True)
    events = await bench.answer(REQUIRED, (LAMP, DOOR))
    assert bench.asked().endswith("assistant\n<tool_call>function\n")
    assert calls(events) == [("lamp", '{"on": true}')]
    assert not [e for e in events if isinstance(e, TextDelta)]


async def test_where_calls_stand_in_text_a_single_tool_is_named_too() -> None:
    bench = Bench(text_ids('{"on": true}</tool_call>'), schemas=True)
    events = await bench.answer(ToolChoice("required", ("lamp",)), (LAMP, DOOR))
    assert bench.asked().endswith("assistant\n<tool_call>function\nlamp\n")
    assert calls(events) == [("lamp", '{"on": true}')]


async def test_where_calls_stand_in_text_the_round_after_a_result_is_free() -> None:
    bench = Bench(text_ids("{}</tool_call>"), ANSWER, schemas=True)
    await bench.answer(REQUIRED)
    assert bench.asked(0).endswith("<tool_call>function\nget_time\n")
    assert bench.asked(1).endswith("assistant\n")


async def test_where_tools_are_listed_none_means_no_list() -> None:
    bench = Bench(ANSWER, schemas=True)
    await bench.answer(NONE, (LAMP,))
    assert "tool_json_schemas" not in bench.asked()
