"""The client of chat servers against what they send: one recorded stream for each habit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_audio.core.chat import ChatEvent, ChatMessage, ChatModelRequest, ChatUsage
from step_audio.core.errors import EngineLost, EngineRefused, EngineUnavailable
from step_audio.core.ports import ToolSpec
from step_audio.core.types import Reasoning, SamplingParams, TextDelta, ToolCall
from step_audio.endpoints.chat import ChatCompletions
from step_audio.endpoints.connection import Endpoint, is_local
from step_audio.endpoints.thinking import ThinkingFilter
from tests.chat_server import ChatServer, Reply, serving

WEATHER = ToolSpec("get_weather", "Tell the weather.", {"type": "object", "properties": {}})
ASK = ChatModelRequest((ChatMessage("user", "What time is it?"),), SamplingParams())
WITH_TOOLS = ChatModelRequest(ASK.messages, SamplingParams(), (WEATHER,))
ROME = '{"city": "Rome"}'


@asynccontextmanager
async def chatting(
    *replies: Reply, key: str | None = None, **options: Any
) -> AsyncIterator[tuple[ChatCompletions, ChatServer]]:
    numbers = (f"made_{n}" for n in range(1, 1000))
    async with serving(ChatServer(replies)) as server:
        endpoint = Endpoint(server.url, key)
        chat = ChatCompletions(endpoint, "m", new_call_id=numbers.__next__, **options)
        try:
            yield chat, server
        finally:
            await chat.aclose()


async def reply(chat: ChatCompletions, request: ChatModelRequest = ASK) -> list[ChatEvent]:
    return [event async for event in chat.reply(request)]


def text_of(events: list[ChatEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def calls_of(events: list[ChatEvent]) -> list[ToolCall]:
    return [event for event in events if isinstance(event, ToolCall)]


@pytest.mark.parametrize(
    ("stream", "usage"),
    [
        ("vllm-text", ChatUsage(21, 6)),
        ("ollama-text", ChatUsage(21, 6)),
        ("llamacpp-text", ChatUsage(21, 6)),
        ("lmstudio-text-crlf", None),
        ("openrouter-comments", ChatUsage(21, 6)),
        ("no-done", None),
        ("no-finish-reason", None),
        ("empty-choices-first", None),
        ("usage-in-last-choice", ChatUsage(21, 6)),
        ("whole-json", ChatUsage(21, 6)),
    ],
)
async def test_words_and_usage_however_they_are_streamed(
    stream: str, usage: ChatUsage | None
) -> None:
    async with chatting(stream) as (chat, _):
        events = await reply(chat)
    assert text_of(events) == "It is noon."
    assert [e for e in events if isinstance(e, ChatUsage)] == ([usage] if usage else [])


@pytest.mark.parametrize(
    ("stream", "calls"),
    [
        ("vllm-tool-fragments", [ToolCall("chatcmpl-tool-1", "get_weather", ROME)]),
        ("tool-empty-arguments", [ToolCall("call_a", "get_time", "{}")]),
        ("tool-null-arguments", [ToolCall("call_a", "get_time", "{}")]),
        ("tool-broken-json", [ToolCall("call_a", "get_weather", '{"city": "Ro')]),
        ("tool-without-index-or-id", [ToolCall("made_1", "get_time", "{}")]),
        ("tool-id-repeated", [ToolCall("call_a", "get_weather", '{"city":"Rome"}')]),
        ("ollama-tool-whole", [ToolCall("call_x1", "get_weather", '{"city":"Rome"}')]),
        (
            "parallel-tools",
            [
                ToolCall("call_a", "get_weather", '{"city":"Rome"}'),
                ToolCall("call_b", "get_time", "{}"),
            ],
        ),
        (
            "gemini-tools-all-index-0",
            [
                ToolCall("function-call-1", "get_weather", '{"city":"Rome"}'),
                ToolCall("function-call-2", "get_time", "{}"),
            ],
        ),
    ],
)
async def test_tool_calls_are_joined_from_their_fragments(
    stream: str, calls: list[ToolCall]
) -> None:
    async with chatting(stream) as (chat, _):
        events = await reply(chat, WITH_TOOLS)
    assert calls_of(events) == calls
    assert text_of(events) == ""


async def test_words_in_front_of_a_call_come_first() -> None:
    async with chatting("words-then-tool") as (chat, _):
        events = await reply(chat, WITH_TOOLS)
    assert text_of(events[:-1]) == "Let me look."
    assert events[-1] == ToolCall("call_a", "get_time", "{}")


@pytest.mark.parametrize(
    "stream", ["reasoning-content", "ollama-reasoning", "think-tags", "mistral-parts"]
)
async def test_thoughts_are_told_apart_from_words(stream: str) -> None:
    async with chatting(stream) as (chat, _):
        events = await reply(chat)
    assert text_of(events) == "It is noon."
    thought = "".join(event.text for event in events if isinstance(event, Reasoning))
    assert thought in ("The sun is high.", "Noon?")


async def test_thoughts_that_the_template_opens_are_told_apart_where_the_profile_says_so() -> None:
    async with chatting("think-never-opened", begins_thinking=True) as (chat, _):
        assert text_of(await reply(chat)) == "It is noon."


async def test_a_refusal_is_said() -> None:
    async with chatting("refusal") as (chat, _):
        assert text_of(await reply(chat)) == "I cannot do that."


async def test_an_answer_that_ran_into_its_limit_says_so() -> None:
    async with chatting("length") as (chat, _):
        assert (await reply(chat))[-1] == ChatUsage(21, 6, cut_off=True)


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        ("error-in-stream", "EngineCore encountered"),
        ("cut-after-words", ""),
        ("ends-without-reason", "without saying why"),
    ],
)
async def test_a_server_that_breaks_off_is_an_error_behind_what_was_said(
    stream: str, why: str
) -> None:
    events: list[ChatEvent] = []
    async with chatting(stream, "vllm-text") as (chat, server):
        lost = None
        try:
            async for event in chat.reply(ASK):
                events.append(event)
        except EngineLost as error:
            lost = error
        assert lost is not None
        assert why in str(lost)
        assert len(server.requests) == 1, "what was said cannot be continued by a second answer"
    assert text_of(events) == "It is"


@pytest.mark.parametrize(
    "stream", ["cut-before-words", "503-loading", "502-html", "error-first", "error-event"]
)
async def test_before_the_first_word_it_is_asked_again(stream: str) -> None:
    async with chatting(stream, "vllm-text") as (chat, server):
        assert text_of(await reply(chat)) == "It is noon."
        assert len(server.requests) == 2


async def test_a_server_that_is_busy_is_asked_again_when_it_says() -> None:
    async with chatting("429-retry-after", "vllm-text") as (chat, server):
        start_s = asyncio.get_running_loop().time()
        assert text_of(await reply(chat)) == "It is noon."
        assert asyncio.get_running_loop().time() - start_s >= 1.0
        assert len(server.requests) == 2


async def test_a_server_that_is_busy_for_long_is_told_and_not_waited_for() -> None:
    async with chatting("429-retry-after-long", "vllm-text") as (chat, server):
        with pytest.raises(EngineUnavailable, match="Rate limit"):
            await reply(chat)
        assert len(server.requests) == 1


async def test_nobody_at_the_address_is_told_with_what_to_do() -> None:
    chat = ChatCompletions(Endpoint("http://127.0.0.1:9/v1"), "m", first_word_timeout_s=0.1)
    with pytest.raises(EngineUnavailable, match="is there a server"):
        await reply(chat)
    assert not await chat.ready()
    await chat.aclose()


@pytest.mark.parametrize(
    ("refusal", "field"),
    [
        ("400-tools-ollama", "tools"),
        ("400-tools-vllm", "tools"),
        ("404-tools-openrouter", "tools"),
        ("400-stream-options", "stream_options"),
        ("400-temperature", "temperature"),
    ],
)
async def test_what_a_server_refuses_is_left_out_from_then_on(
    refusal: str, field: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with chatting(refusal, "vllm-text") as (chat, server):
        assert text_of(await reply(chat, WITH_TOOLS)) == "It is noon."
        await reply(chat, WITH_TOOLS)
    first, second, third = server.bodies
    assert field in first
    assert field not in second
    assert field not in third
    assert chat.habits.refused >= {field}
    assert any("refuses a field" in record.message for record in caplog.records)


async def test_a_required_tool_is_not_left_out() -> None:
    request = ChatModelRequest(ASK.messages, SamplingParams(), (WEATHER,), "required")
    async with chatting("400-tools-ollama", "vllm-text") as (chat, _):
        with pytest.raises(EngineRefused, match="support tools"):
            await reply(chat, request)


async def test_a_server_may_want_the_limit_by_its_newer_name() -> None:
    async with chatting("400-max-tokens", "vllm-text") as (chat, server):
        await reply(chat)
    assert server.bodies[1]["max_completion_tokens"] == ASK.sampling.max_tokens
    assert "max_tokens" not in server.bodies[1]


@pytest.mark.parametrize(
    ("refusal", "why"), [("400-context", "maximum context"), ("404-model", "not found")]
)
async def test_what_is_wrong_with_a_request_is_told(refusal: str, why: str) -> None:
    async with chatting(refusal, "vllm-text") as (chat, server):
        with pytest.raises(EngineRefused, match=why):
            await reply(chat, WITH_TOOLS)
        assert len(server.requests) == 1


async def test_an_address_without_v1_is_hinted_at() -> None:
    async with serving(ChatServer(["404-no-v1"])) as server:
        chat = ChatCompletions(Endpoint(server.url.removesuffix("/v1")), "m")
        with pytest.raises(EngineRefused, match="ends in /v1"):
            await reply(chat)
        await chat.aclose()


async def test_a_key_is_sent_and_never_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with chatting("401-key-echoed", key="sk-secret") as (chat, server):
        with pytest.raises(EngineRefused) as refused:
            await reply(chat)
        assert server.requests[0][0]["authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in str(refused.value)
    assert "sk-secret" not in caplog.text


async def test_what_is_sent() -> None:
    call = ToolCall("c1", "get_weather", "{}")
    messages = (
        ChatMessage("system", "Be brief."),
        ChatMessage("user", audio=np.zeros(1600, np.float32)),
        ChatMessage("assistant", calls=(call,)),
        ChatMessage("tool", '{"sun":1}', call_id="c1"),
    )
    sampling = SamplingParams(temperature=0.3, top_p=0.9, max_tokens=99, seed=7)
    request = ChatModelRequest(messages, sampling, (WEATHER,), "required", "get_weather")
    extra = {"chat_template_kwargs": {"enable_thinking": False}}
    async with chatting("vllm-text", extra_body=extra) as (chat, server):
        await reply(chat, request)
    (body,) = server.bodies
    system, user, assistant, tool = body["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    (part,) = user["content"]
    assert part["type"] == "input_audio"
    assert part["input_audio"]["format"] == "wav"
    assert assistant["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": "{}"}
    assert tool == {"role": "tool", "content": '{"sun":1}', "tool_call_id": "c1"}
    assert body["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}
    assert body["tools"][0]["function"]["name"] == "get_weather"
    facts = (body["temperature"], body["top_p"], body["max_tokens"], body["seed"])
    assert facts == (0.3, 0.9, 99, 7)
    assert body["stream"] is True
    assert body["chat_template_kwargs"] == {"enable_thinking": False}


async def test_closing_the_iterator_closes_the_connection() -> None:
    server = ChatServer(["vllm-text"], piece_s=0.05)
    async with serving(server):
        chat = ChatCompletions(Endpoint(server.url), "m")
        async with aclosing(chat.reply(ASK)) as events:
            async for event in events:
                assert event == TextDelta("It")
                break
        for _ in range(50):
            await asyncio.sleep(0.02)
            if server.aborted:
                break
        assert server.aborted == 1
        await chat.aclose()


async def test_an_event_without_end_is_refused() -> None:
    def endless(_: dict[str, Any]) -> bytes:
        return b"HTTP/1.1 200 OK\ncontent-type: text/event-stream\n\ndata: " + b"x" * 3_000_000

    server = ChatServer([endless], piece_s=0.001)
    async with serving(server):
        chat = ChatCompletions(Endpoint(server.url), "m", first_word_timeout_s=0.01)
        with pytest.raises(EngineUnavailable, match="longer than"):
            await reply(chat)
        await chat.aclose()


async def test_a_server_that_does_not_list_the_model_is_ready_and_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(ChatServer(models=("other",))) as server:
        chat = ChatCompletions(Endpoint(server.url), "m")
        assert await chat.ready()
        await chat.aclose()
    assert any("does not list" in record.message for record in caplog.records)


@given(cuts=st.lists(st.integers(0, 60), max_size=8), begins=st.booleans())
def test_tags_are_found_however_content_is_cut(cuts: list[int], begins: bool) -> None:
    content = ("" if begins else "<think>") + "a < b</think>\n\nIt is <b>noon</b>."
    places = sorted({0, *(cut for cut in cuts if cut < len(content)), len(content)})
    stage = ThinkingFilter(begins_inside=begins)
    out = [made for a, b in pairwise(places) for made in stage.push(content[a:b])]
    out += stage.flush()
    assert "".join(m.text for m in out if isinstance(m, Reasoning)) == "a < b"
    assert "".join(m.text for m in out if isinstance(m, TextDelta)) == "It is <b>noon</b>."


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:11434/v1", True),
        ("http://localhost:1234/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://192.168.1.5:8000/v1", True),
        ("http://ollama:11434/v1", True),
        ("http://box.local/v1", True),
        ("https://api.openai.com/v1", False),
        ("https://8.8.8.8/v1", False),
    ],
)
def test_addresses_of_this_machine_and_of_private_networks_are_local(url: str, local: bool) -> None:
    assert is_local(url) is local
