"""The published models' way to write tools, from the engine's ids to the conversation."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import pytest

from step_audio.core.ports import ToolSpec
from step_audio.core.types import AudioChunk, TextDelta, ToolCall, ToolResult
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.context_window import ContextWindow
from step_audio.dialog.prompting.conversation import (
    Answer,
    Called,
    Conversation,
    Returned,
    Typed,
    UserAudio,
)
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.prompting.prompt import Audio, Call, PromptBuilder, Spoken, Text, Turn
from step_audio.dialog.prompting.tool_syntax import UNREADABLE, JsonSchemaSyntax
from step_audio.dialog.response.pipeline import AnswerEvent
from step_audio.dialog.settings import DialogSettings
from step_audio.dialog.turns.utterance import Utterance
from tests.fakes import (
    VOCAB,
    ByteTokenizer,
    CountingTokenizer,
    FakeTools,
    ScriptedEngine,
    group,
    services,
    text_ids,
)

PUBLISHED = replace(VOCAB, heard_open=None, heard_close=None, call=None)
DIALECT = JsonSchemaSyntax()
BUILDER = PromptBuilder(ByteTokenizer(), PUBLISHED, dialect=DIALECT)
DOOR = ToolSpec("open_door", "Open the door.", {"type": "object", "properties": {}})
TIME = DIALECT.write("get_time", "{}")
GROUPS = [group(n) for n in range(4)]
NOON = interleave(text_ids("It is noon."), GROUPS, PUBLISHED)


def direct(*scripts: list[int]) -> tuple[Assistant, ScriptedEngine]:
    engine = ScriptedEngine(scripts)
    parts = replace(services(engine), vocab=PUBLISHED)
    return Assistant(parts, DialogSettings(dialect="json_schemas")), engine


def cascade(*scripts: list[int]) -> tuple[Assistant, ScriptedEngine, ScriptedEngine]:
    writer, reader = ScriptedEngine(scripts), ScriptedEngine([PUBLISHED.ids(GROUPS[:2])])
    parts = replace(services(writer), vocab=PUBLISHED, speech_engine=reader)
    settings = DialogSettings(responder="cascade", dialect="json_schemas")
    return Assistant(parts, settings), writer, reader


def asked() -> Conversation:
    talk = Conversation()
    talk.add(UserAudio("q", (group(7),)))
    return talk


async def collect(events: AsyncIterator[AnswerEvent]) -> list[AnswerEvent]:
    return [event async for event in events]


def words(events: list[AnswerEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def sounds(events: list[AnswerEvent]) -> int:
    return sum(isinstance(event, AudioChunk) for event in events)


def listing(*tools: ToolSpec) -> Turn:
    return Turn("tool_json_schemas", (Text(DIALECT.list_tools(tools)),))


SYSTEM = Turn("system", (Text("assistant"),))
ASKED = Turn("human", (Audio((group(7),)),))


def prompt(*turns: Turn) -> tuple[int, ...]:
    return tuple(BUILDER.chat(turns))


async def test_the_tools_of_client_and_server_are_told_in_a_turn_of_their_own() -> None:
    assistant, engine = direct(NOON)
    await collect(assistant.answer(asked(), client_tools=[DOOR]))
    assert engine.requests[0].prompt == prompt(SYSTEM, listing(DOOR, *FakeTools().specs()), ASKED)


async def test_a_clients_tool_hides_the_servers_of_the_same_name() -> None:
    mine = ToolSpec("get_time", "Mine.", {})
    assistant, engine = direct(text_ids(TIME))
    events = await collect(assistant.answer(asked(), client_tools=[mine]))
    assert engine.requests[0].prompt == prompt(SYSTEM, listing(mine), ASKED)
    assert [type(event) for event in events] == [ToolCall]
    assert len(engine.requests) == 1, "the client is waited for"


async def test_a_model_that_speaks_calls_without_a_sound_and_answers_from_the_result() -> None:
    assistant, engine = direct(text_ids(TIME), NOON)
    talk = asked()
    events = await collect(assistant.answer(talk, answer_id="a"))
    call = next(event for event in events if isinstance(event, ToolCall))
    assert (call.name, call.arguments) == ("get_time", "{}")
    assert ToolResult(call.call_id, "get_time", '{"time":"noon"}') in events
    assert (words(events), sounds(events)) == ("It is noon.", 4)
    assert [type(item) for item in talk] == [UserAudio, Called, Returned, Answer]
    tools = listing(*FakeTools().specs())
    called = Turn("assistant", (Text(TIME),))
    result = Turn("input", (Text('{"time":"noon"}'),))
    assert engine.requests[1].prompt == prompt(SYSTEM, tools, ASKED, called, result)


async def test_words_in_front_of_a_call_are_spoken_and_belong_to_the_answer() -> None:
    said = interleave(text_ids("Let me see."), GROUPS[:3], PUBLISHED)
    assistant, engine = direct([*said, *text_ids(f"\n{TIME}\n")], NOON)
    talk = asked()
    events = await collect(assistant.answer(talk, answer_id="a"))
    assert words(events) == "Let me see. It is noon."
    assert sounds(events) == 7
    assert [type(item) for item in talk] == [UserAudio, Called, Returned, Answer]
    answer = talk.get("a")
    assert isinstance(answer, Answer)
    assert (answer.text, len(answer.groups)) == ("Let me see. It is noon.", 7)
    tools = listing(*FakeTools().specs())
    both = Turn("assistant", (Text("Let me see."), Call("get_time", "{}")))
    result = Turn("input", (Text('{"time":"noon"}'),))
    assert engine.requests[1].prompt == prompt(SYSTEM, tools, ASKED, both, result)


async def test_sound_that_may_speak_a_call_is_not_played() -> None:
    syntax = interleave(text_ids(TIME), [group(n) for n in range(20)], PUBLISHED)
    assistant, _ = direct(syntax, NOON)
    events = await collect(assistant.answer(asked()))
    assert (words(events), sounds(events)) == ("It is noon.", 4)


async def test_the_sound_of_words_trails_into_the_call_behind_them() -> None:
    spoken = interleave(text_ids(f"I look it up.{TIME}"), [group(n) for n in range(60)], PUBLISHED)
    assistant, _ = direct(spoken, NOON)
    events = await collect(assistant.answer(asked()))
    usual_s = 13 * 0.07
    assert usual_s < (sounds(events) - 4) * 0.12 < 1.5 * usual_s


async def test_words_behind_a_call_are_not_said_and_end_the_turn() -> None:
    guessed = interleave(text_ids(f"{TIME} It is six."), GROUPS, PUBLISHED)
    assistant, engine = direct(guessed, NOON)
    events = await collect(assistant.answer(asked()))
    assert (words(events), sounds(events)) == ("It is noon.", 4)
    assert engine.aborted == [engine.requests[0].request_id]


async def test_several_calls_in_a_turn_are_all_made_and_shown_in_one() -> None:
    paris = DIALECT.write("get_time", '{"city":"Paris"}')
    assistant, engine = direct(text_ids(f"{TIME}\n{paris}"), NOON)
    events = await collect(assistant.answer(asked()))
    calls = [event.arguments for event in events if isinstance(event, ToolCall)]
    assert calls == ["{}", '{"city":"Paris"}']
    tools = listing(*FakeTools().specs())
    result = Turn("input", (Text('{"time":"noon"}'),))
    both = Turn("assistant", (Text(TIME), Text(paris)))
    assert engine.requests[1].prompt == prompt(SYSTEM, tools, ASKED, both, result, result)
    assert words(events) == "It is noon."


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (DIALECT.write("dance", "{}"), "no tool 'dance'"),
        ("<tool_call>dance!</tool_call>", f"no tool '{UNREADABLE}'"),
    ],
)
async def test_a_call_that_fails_is_told_in_words(written: str, told: str) -> None:
    assistant, _ = direct(text_ids(written), text_ids("Sorry."))
    events = await collect(assistant.answer(asked()))
    (result,) = [event for event in events if isinstance(event, ToolResult)]
    assert json.loads(result.output) == {"error": told}
    assert words(events) == "Sorry."


async def test_a_cascade_reads_no_call_aloud() -> None:
    assistant, writer, reader = cascade(
        text_ids(f"Let me see. {TIME}"), text_ids("It is noon. Go to lunch.")
    )
    events = await collect(assistant.answer(asked()))
    assert words(events) == "Let me see. It is noon. Go to lunch."
    assert sounds(events) == 2 * len(reader.requests) == 6
    assert not any("tool" in text_of(request.prompt) for request in reader.requests)
    assert [request.form for request in writer.requests] == ["text", "text"]


async def test_a_clients_result_is_given_back_in_the_dialect() -> None:
    assistant, engine = direct(text_ids("One moment. " + DIALECT.write("open_door", "{}")), NOON)
    talk = asked()
    events = await collect(assistant.answer(talk, answer_id="a", client_tools=[DOOR]))
    (call,) = [event for event in events if isinstance(event, ToolCall)]
    assert [type(item) for item in talk] == [UserAudio, Answer, Called]
    talk.add(Returned("r", ToolResult(call.call_id, "open_door", '{"open":true}')))
    assert words(await collect(assistant.answer(talk, client_tools=[DOOR]))) == "It is noon."
    tools = listing(DOOR, *FakeTools().specs())
    both = Turn("assistant", (Text("One moment."), Call("open_door", "{}")))
    result = Turn("input", (Text('{"open":true}'),))
    assert engine.requests[1].prompt == prompt(SYSTEM, tools, ASKED, both, result)


async def test_what_is_read_ahead_begins_like_the_prompt() -> None:
    assistant, engine = direct(NOON)
    talk, question = Conversation(), Utterance(CountingTokenizer(), 16000)
    question.push(np.zeros(16000, np.float32))
    ahead = assistant.read_ahead("s")
    ahead.follow(talk, question, "assistant", assistant.told_tools([DOOR]))
    talk.add(UserAudio.spoken("q", question.finish()))
    await collect(assistant.answer(talk, session="s", client_tools=[DOOR]))
    ((told, _),) = engine.prefilled
    assert told == engine.requests[0].prompt[: len(told)]
    await ahead.close()


def test_of_too_many_tools_the_last_are_left_out_and_none_is_cut() -> None:
    many = [ToolSpec(f"tool_{n}", "x" * 40, {}) for n in range(100)]
    made = ContextWindow(BUILDER, PUBLISHED, max_ids=4000)
    talk = Conversation()
    talk.add(Typed("q", "human", "y" * 9000))
    ids = made.prompt(talk, "z" * 9000, tools=many).ids
    assert len(ids) <= 4000
    shown = text_of(ids).partition("tool_json_schemas\n")[2].partition("human\n")[0]
    told = json.loads(shown)
    assert [tool["function"]["name"] for tool in told] == [f"tool_{n}" for n in range(len(told))]
    assert 5 < len(told) < 12


def test_a_long_conversation_keeps_the_list_of_tools() -> None:
    made, talk = ContextWindow(BUILDER, PUBLISHED, max_ids=2000), Conversation()
    for number in range(30):
        talk.add(Typed(f"q{number}", "human", f"question {number} " + "x" * 100))
        answer = Answer(f"a{number}")
        answer.add(TextDelta("Let me see. "))
        talk.add(answer)
        talk.add(Called(f"c{number}", ToolCall(f"call{number}", "open_door", "{}")))
        talk.add(Returned(f"r{number}", ToolResult(f"call{number}", "open_door", "{}")))
    text = text_of(made.prompt(talk, "be kind", tools=[DOOR]).ids)
    assert text.startswith(f"system\nbe kindtool_json_schemas\n{DIALECT.list_tools([DOOR])}human")
    assert text.endswith("input\n{}assistant\n")


def test_a_spoken_answer_and_its_call_are_one_turn() -> None:
    spoken = Turn("assistant", (Spoken("Hm.", (group(1),)), Call("open_door", "{}")))
    ids = BUILDER.turn(spoken)
    assert sum(map(PUBLISHED.is_audio, ids)) == 5
    assert text_of(ids) == "assistant\nHm." + DIALECT.write("open_door", "{}")


def text_of(ids: tuple[int, ...] | list[int]) -> str:
    return bytes(id_ - 300 for id_ in ids if 300 <= id_ < 556).decode(errors="replace")
