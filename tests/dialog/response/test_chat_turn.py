"""A chat model answers in text: heard, asked, spoken, with tools in between."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from step_audio.core.chat import ChatEvent, ChatMessage, ChatUsage
from step_audio.core.errors import EngineLost, EngineUnavailable
from step_audio.core.ports import ToolSpec
from step_audio.core.types import (
    AudioChunk,
    Reasoning,
    SamplingParams,
    TextDelta,
    ToolCall,
    ToolResult,
    Transcript,
)
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.context_window import Usage
from step_audio.dialog.prompting.conversation import (
    Answer,
    Conversation,
    MultiPartMessage,
    SpokenPart,
    Typed,
    UserAudio,
    WrittenPart,
)
from step_audio.dialog.recognition.speech import Speech
from step_audio.dialog.response.chat_turn import ChatSettings
from step_audio.dialog.response.pipeline import AnswerEvent
from step_audio.dialog.response.token_stream import TokenTimeouts
from step_audio.dialog.settings import DialogSettings
from step_audio.dialog.tool_calls.tool_choice import ToolChoice
from tests.fakes import (
    VOCAB,
    ScriptedChat,
    ScriptedEngine,
    ScriptedRecognizer,
    group,
    services,
    text_ids,
)

DOOR = ToolSpec("open_door", "Open it.", {"type": "object", "properties": {}})
WORDS = ["what", "time", "is", "it"]


def chatting(
    *scripts: list[ChatEvent | Exception],
    recognizer: ScriptedRecognizer | None = None,
    settings: DialogSettings | None = None,
) -> tuple[Assistant, ScriptedChat]:
    chat = ScriptedChat(scripts)
    reader = ScriptedEngine([VOCAB.ids([group(n) for n in range(2)])])
    parts = replace(services(reader), chat_model=chat, recognizer=recognizer, audio_tokenizer=None)
    settings = settings or DialogSettings(responder="chat", takes_instructions=True)
    return Assistant(parts, settings), chat


def asked(text: str = "what now") -> Conversation:
    conversation = Conversation()
    conversation.add(Typed("q", "human", text))
    return conversation


def spoken(seconds: float) -> Conversation:
    conversation = Conversation()
    pcm = np.ones(int(seconds * 16000), np.float32)
    conversation.add(UserAudio("q", (), speech=Speech(pcm)))
    return conversation


async def events_of(assistant: Assistant, talk: Conversation, **wanted: Any) -> list[AnswerEvent]:
    answer = assistant.answer(talk, answer_id="a", **wanted)
    return [event async for event in answer]


def texts(events: list[AnswerEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def test_the_question_is_heard_then_asked_then_the_answer_is_spoken() -> None:
    ear = ScriptedRecognizer(WORDS)
    assistant, chat = chatting([TextDelta("It is noon.")], recognizer=ear)
    talk = spoken(1.0)
    events = await events_of(assistant, talk, instructions="Be brief.")
    assert events[0] == Transcript("what time is it", "en")
    assert texts(events) == "It is noon."
    assert sum(isinstance(event, AudioChunk) for event in events) == 2
    assert chat.requests[0].messages == (
        ChatMessage("system", "Be brief."),
        ChatMessage("user", "what time is it"),
    )
    question, answer = talk
    assert isinstance(question, UserAudio)
    assert (question.transcript, question.language) == ("what time is it", "en")
    assert isinstance(answer, Answer)
    assert (answer.text, answer.duration_ms) == ("It is noon.", 240)


async def test_each_question_is_recognized_once() -> None:
    ear = ScriptedRecognizer(WORDS)
    assistant, _ = chatting([TextDelta("Noon.")], recognizer=ear)
    talk = spoken(1.0)
    await events_of(assistant, talk)
    question = talk.get("q")
    assert isinstance(question, UserAudio)
    assert (await assistant.words(question)).text == "what time is it"
    talk.add(Typed("q2", "human", "and in Rome"))
    answer = assistant.answer(talk, answer_id="a2")
    assert not [event async for event in answer if isinstance(event, Transcript)]
    assert len(ear.asked) == 1


async def test_a_model_that_hears_gets_the_sound() -> None:
    settings = DialogSettings(responder="chat", chat=ChatSettings(hears=True))
    assistant, chat = chatting([TextDelta("Noon.")], settings=settings)
    await events_of(assistant, spoken(1.0))
    audio = chat.requests[0].messages[-1].audio
    assert audio is not None
    assert len(audio) == 16000


async def test_a_tool_is_called_and_its_result_told() -> None:
    call = ToolCall("c1", "get_time", "{}")
    assistant, chat = chatting([call], [TextDelta("It is noon.")])
    events = await events_of(assistant, asked())
    kinds = [type(e).__name__ for e in events if not isinstance(e, AudioChunk)]
    assert kinds == ["ToolCall", "ToolResult", "TextDelta"]
    assert [tool.name for tool in chat.requests[0].tools] == ["get_time"]
    assert chat.requests[1].messages[-2:] == (
        ChatMessage("assistant", calls=(call,)),
        ChatMessage("tool", '{"time":"noon"}', call_id="c1"),
    )


async def test_a_clients_tool_ends_the_answer() -> None:
    assistant, chat = chatting([ToolCall("c1", "open_door", "{}")])
    events = await events_of(assistant, asked(), client_tools=[DOOR])
    assert events == [ToolCall("c1", "open_door", "{}")]
    assert len(chat.requests) == 1


async def test_broken_arguments_are_told_to_the_model_and_never_to_the_client() -> None:
    broken = ToolCall("c1", "open_door", '{"door": "fr')
    assistant, chat = chatting([broken], [TextDelta("Which door?")])
    events = await events_of(assistant, asked(), client_tools=[DOOR])
    result = next(event for event in events if isinstance(event, ToolResult))
    assert "not a JSON object" in result.output
    assert chat.requests[1].messages[-1] == ChatMessage("tool", result.output, call_id="c1")
    assert texts(events) == "Which door?"


async def test_a_call_that_the_server_left_in_the_text_is_made_and_not_spoken() -> None:
    pieces = [
        "Let me look. <tool",
        "_call>\n",
        '{"name": "get_time", "arguments": {}}',
        "</tool_call>",
    ]
    assistant, chat = chatting([TextDelta(p) for p in pieces], [TextDelta("It is noon.")])
    events = await events_of(assistant, asked())
    assert texts(events) == "Let me look. It is noon."
    assert [e.name for e in events if isinstance(e, ToolCall)] == ["get_time"]
    assert chat.requests[1].messages[-1].text == '{"time":"noon"}'


async def test_what_the_model_thinks_is_told_apart_and_never_spoken() -> None:
    assistant, _ = chatting([Reasoning("Hm. Noon?"), TextDelta("It is noon.")])
    talk = asked()
    events = await events_of(assistant, talk)
    assert [e.text for e in events if isinstance(e, Reasoning)] == ["Hm. Noon?"]
    answer = talk.get("a")
    assert isinstance(answer, Answer)
    assert answer.text == "It is noon."


@pytest.mark.parametrize(
    ("choice", "kind", "name", "told"),
    [
        (ToolChoice(), "auto", "", ["open_door", "get_time"]),
        (ToolChoice("none"), "auto", "", []),
        (ToolChoice("required"), "required", "open_door", ["open_door"]),
        (ToolChoice("required", ("get_time",)), "required", "get_time", ["get_time"]),
    ],
)
async def test_a_clients_choice_of_tools_reaches_the_model(
    choice: ToolChoice, kind: str, name: str, told: list[str]
) -> None:
    assistant, chat = chatting([TextDelta("No.")])
    await events_of(assistant, asked(), client_tools=[DOOR], choice=choice)
    request = chat.requests[0]
    assert (request.choice, request.name) == (kind, name)
    assert [tool.name for tool in request.tools] == told


async def test_what_was_read_and_written_is_counted_as_the_server_says() -> None:
    assistant, _ = chatting([TextDelta("It is noon."), ChatUsage(30, 4, cut_off=True)])
    usage = Usage()
    await events_of(assistant, asked(), usage=usage)
    assert (usage.input_text, usage.output_text, usage.cut_off) == (30, 4, True)


async def test_without_a_word_of_usage_it_is_estimated() -> None:
    assistant, _ = chatting([TextDelta("It is noon.")])
    usage = Usage()
    await events_of(assistant, asked(), usage=usage, instructions="x")
    assert usage.input_text > 0
    assert usage.output_text == 4
    assert not usage.cut_off


async def test_sampling_reaches_the_model() -> None:
    assistant, chat = chatting([TextDelta("No.")])
    await events_of(assistant, asked(), sampling=SamplingParams(temperature=0.1, max_tokens=9))
    assert chat.requests[0].sampling == SamplingParams(temperature=0.1, max_tokens=9)


async def test_closing_an_answer_aborts_the_request() -> None:
    assistant, chat = chatting(
        [TextDelta("It is noon."), TextDelta(" Go"), TextDelta(" to lunch.")]
    )
    chat.hold = 2
    async with aclosing(assistant.answer(asked())) as events:
        async for _ in events:
            break
    assert chat.aborted == 1


async def test_an_error_in_mid_stream_ends_the_answer_after_what_was_said() -> None:
    assistant, _ = chatting([TextDelta("It is noon. And"), EngineLost("chat", "gone")])
    talk = asked()
    with pytest.raises(EngineLost):
        await events_of(assistant, talk)
    answer = talk.get("a")
    assert isinstance(answer, Answer)
    assert answer.text == "It is noon."


async def test_a_model_that_says_nothing_in_time_is_given_up() -> None:
    patience = TokenTimeouts(first_s=0.01, next_s=0.01)
    settings = DialogSettings(responder="chat", patience=patience)
    assistant, chat = chatting([TextDelta("late")], settings=settings)
    chat.hold = 0
    with pytest.raises(EngineUnavailable, match="chat model"):
        await events_of(assistant, asked())
    assert chat.aborted == 1


async def test_a_first_clause_is_read_before_its_sentence_is_over() -> None:
    assistant, chat = chatting(
        [TextDelta("The sun stands high in the south,"), TextDelta(" so"), TextDelta(" it is.")],
        recognizer=ScriptedRecognizer(WORDS),
    )
    chat.hold = 2
    events = assistant.answer(spoken(1.0))
    async with aclosing(events):
        assert isinstance(await anext(events), Transcript)
        assert await anext(events) == TextDelta("The sun stands high in the south,")
        assert isinstance(await anext(events), AudioChunk)
        chat.resume.set()
        rest = [event async for event in events]
    assert texts(rest) == " so it is."


async def test_an_ear_that_fails_fails_the_answer() -> None:
    ear = ScriptedRecognizer(WORDS, error=EngineLost("ear", "gone"))
    assistant, chat = chatting([TextDelta("Noon.")], recognizer=ear)
    with pytest.raises(EngineLost):
        await events_of(assistant, spoken(1.0))
    assert not chat.requests
    await asyncio.sleep(0)


async def test_the_model_that_speaks_may_also_hear() -> None:
    assert VOCAB.heard_open is not None
    assert VOCAB.heard_close is not None
    heard = [VOCAB.heard_open, *text_ids("what time is it"), VOCAB.heard_close]
    engine = ScriptedEngine([heard, VOCAB.ids([group(1)])])
    chat = ScriptedChat([[TextDelta("Noon.")]])
    assistant = Assistant(
        replace(services(engine), chat_model=chat), DialogSettings(responder="chat")
    )
    talk = Conversation()
    talk.add(UserAudio("q", (group(7),)))
    events = await events_of(assistant, talk)
    assert events[0] == Transcript("what time is it")
    assert chat.requests[0].messages[-1] == ChatMessage("user", "what time is it")


async def test_every_part_of_a_message_is_heard_or_read() -> None:
    assistant, chat = chatting([TextDelta("Noon.")], recognizer=ScriptedRecognizer(WORDS))
    pcm = np.ones(16000, np.float32)
    parts = (WrittenPart("Listen:"), SpokenPart((), speech=Speech(pcm)), WrittenPart("Well?"))
    talk = Conversation()
    talk.add(MultiPartMessage("q", "human", parts))
    await events_of(assistant, talk)
    said = "Listen: what time is it Well?"
    assert chat.requests[0].messages[-1] == ChatMessage("user", said)
