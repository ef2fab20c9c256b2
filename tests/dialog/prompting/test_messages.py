"""A conversation as messages: true to what was heard, and nothing that a chat template refuses."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from step_audio.core.chat import ChatMessage
from step_audio.core.ports import ToolSpec
from step_audio.core.types import AudioChunk, TextDelta, ToolCall, ToolResult
from step_audio.dialog.prompting.conversation import (
    Answer,
    Called,
    Conversation,
    Item,
    Returned,
    Typed,
    UserAudio,
)
from step_audio.dialog.prompting.messages import fitting, messages, read_tokens
from step_audio.dialog.recognition.speech import Speech

SECOND = AudioChunk(np.zeros(1000, np.float32), 1000)
UNHEARD = "(nothing was understood)"


def talk(*items: Item) -> Conversation:
    conversation = Conversation()
    for item in items:
        conversation.add(item)
    return conversation


def said(item_id: str, *sentences: str) -> Answer:
    """An answer of which each sentence took one second to say."""
    answer = Answer(item_id, read_aloud=True)
    for sentence in sentences:
        answer.add(TextDelta(sentence))
        answer.add(SECOND)
    return answer


def test_words_and_speech_are_told_by_who_said_them() -> None:
    conversation = talk(
        UserAudio("q1", (), "What time is it?"),
        said("a1", "It is noon."),
        Typed("q2", "human", "And in Rome?"),
    )
    assert messages(conversation, "Be brief.") == [
        ChatMessage("system", "Be brief."),
        ChatMessage("user", "What time is it?"),
        ChatMessage("assistant", "It is noon."),
        ChatMessage("user", "And in Rome?"),
    ]


def test_an_answer_is_told_as_far_as_it_was_heard() -> None:
    answer = said("a", "It is noon.", " The sun is high.", " Go to lunch.")
    conversation = talk(UserAudio("q", (), "Time?"), answer, UserAudio("p", (), "Stop."))
    answer.truncate(1000)
    assert messages(conversation, "")[1] == ChatMessage("assistant", "It is noon.")
    answer.truncate(0)
    assert messages(conversation, "") == [ChatMessage("user", "Time?\nStop.")]


def test_system_items_stand_in_front_and_neighbours_of_one_speaker_are_one_message() -> None:
    conversation = talk(
        Typed("q1", "human", "One."),
        Typed("s", "system", "The user is in Rome."),
        Typed("q2", "human", "Two."),
    )
    assert messages(conversation, "Be brief.") == [
        ChatMessage("system", "Be brief.\n\nThe user is in Rome."),
        ChatMessage("user", "One.\nTwo."),
    ]


def test_calls_made_at_once_are_one_message_with_their_results_behind_it() -> None:
    calls = [ToolCall(f"c{n}", "get_time", '{"city":"Rome"}') for n in (1, 2)]
    conversation = talk(
        Typed("q", "human", "Times?"),
        *(Called(f"i{call.call_id}", call) for call in calls),
        Returned("r2", ToolResult("c2", "get_time", "two")),
        Returned("r1", ToolResult("c1", "get_time", "one")),
        said("a", "One and two."),
    )
    assert messages(conversation, "")[1:4] == [
        ChatMessage("assistant", calls=tuple(calls)),
        ChatMessage("tool", "one", call_id="c1"),
        ChatMessage("tool", "two", call_id="c2"),
    ]


def test_calls_without_results_and_results_without_calls_are_left_out() -> None:
    conversation = talk(
        Typed("q", "human", "Time?"),
        Called("i1", ToolCall("c1", "get_time", "{}")),
        Returned("r2", ToolResult("c2", "get_time", "two")),
    )
    assert messages(conversation, "") == [ChatMessage("user", "Time?")]


def test_broken_arguments_are_told_as_none_for_templates_parse_them() -> None:
    conversation = talk(
        Typed("q", "human", "Time?"),
        Called("i1", ToolCall("c1", "get_time", '{"city": "Ro')),
        Returned("r1", ToolResult("c1", "get_time", '{"error":"not JSON"}')),
    )
    assert messages(conversation, "")[1].calls[0].arguments == "{}"


def test_a_question_without_words_is_told_as_such() -> None:
    conversation = talk(UserAudio("q", (), ""))
    assert messages(conversation, "", unheard=UNHEARD) == [ChatMessage("user", UNHEARD)]
    assert messages(conversation, "") == []


def test_a_model_that_hears_gets_the_sound_until_somebody_wrote_it_down() -> None:
    speech = Speech(np.ones(160, np.float32))
    conversation = talk(UserAudio("q", (), speech=speech))
    (heard,) = messages(conversation, "", hears=True)
    assert heard.audio is speech.pcm
    (read,) = messages(talk(UserAudio("q", (), "Time?", speech=speech)), "", hears=True)
    assert read == ChatMessage("user", "Time?")
    assert read.audio is None


def exchanges(count: int, words: int) -> list[ChatMessage]:
    out = [ChatMessage("system", "Be brief.")]
    for n in range(count):
        out += [ChatMessage("user", f"q{n} " * words), ChatMessage("assistant", f"a{n} " * words)]
    return [*out, ChatMessage("user", "now")]


def test_what_has_no_room_is_left_out_oldest_first_and_in_steps() -> None:
    whole = exchanges(40, 20)
    shown = fitting(whole, (), 600)
    assert shown.messages[0] == whole[0]
    assert shown.messages[-1] == whole[-1]
    assert shown.messages[1].role == "user"
    assert read_tokens(shown.messages, ()) <= 600
    assert shown.left_out > 0
    starts = [fitting(whole[: 2 * n] + whole[-1:], (), 600).messages[1].text for n in range(15, 40)]
    assert len(set(starts)) < len(starts) / 3, "the beginning moves seldom: a cache stays warm"


def test_the_last_question_is_always_asked() -> None:
    whole = [ChatMessage("system", "s"), ChatMessage("user", "long " * 2000)]
    assert fitting(whole, (), 10).messages == tuple(whole)


TOOL = ToolSpec("get_time", "Tell the time.", {"type": "object", "properties": {}})


@given(
    kinds=st.lists(st.sampled_from(["human", "answer", "call", "result", "system"]), max_size=30),
    room=st.integers(1, 300),
)
def test_no_order_of_items_makes_messages_that_servers_refuse(kinds: list[str], room: int) -> None:
    conversation, calls = Conversation(), 0
    for at, kind in enumerate(kinds):
        if kind in ("human", "system"):
            conversation.add(Typed(f"i{at}", "human" if kind == "human" else "system", f"t{at}"))
        elif kind == "answer":
            conversation.add(said(f"i{at}", f"said {at}."))
        elif kind == "call":
            calls += 1
            conversation.add(Called(f"i{at}", ToolCall(f"c{calls}", "get_time", "{}")))
        else:
            conversation.add(Returned(f"i{at}", ToolResult(f"c{calls}", "get_time", "noon")))
    shown = fitting(messages(conversation, "Be brief."), (TOOL,), room).messages
    assert [m.role for m in shown].index("system") == 0
    assert sum(m.role == "system" for m in shown) == 1
    open_calls: list[str] = []
    for before, message in zip((None, *shown), shown, strict=False):
        assert message.text or message.calls
        if message.role == "tool":
            open_calls.remove(message.call_id)
            continue
        assert not open_calls
        open_calls += [call.call_id for call in message.calls]
        assert all(isinstance(json.loads(call.arguments), dict) for call in message.calls)
        plain = before is not None and before.role == message.role
        assert not plain or message.calls or before.calls  # type: ignore[union-attr]
    assert not open_calls
