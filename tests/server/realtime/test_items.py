"""Items as clients create them: all their parts, in order; nothing harmless is an error."""

import base64
from typing import Any

import numpy as np
import pytest

from step_audio.core.audio import float_to_pcm16
from step_audio.core.vocab import Vocab
from step_audio.dialog.prompting.context_window import ContextWindow
from step_audio.dialog.prompting.conversation import (
    Conversation,
    MultiPartMessage,
    SpokenPart,
    Typed,
    UserAudio,
    WrittenPart,
)
from step_audio.dialog.prompting.prompt import Audio, Heard, PromptBuilder, Text, Turn
from step_audio.dialog.prompting.rendering import turns
from tests.fakes import VOCAB, ByteTokenizer, ScriptedEngine, group, text_ids
from tests.server.conftest import Connect
from tests.server.wire import SECOND, Event, Talk, talking

HALF = base64.b64encode(float_to_pcm16(np.zeros(12_000, np.float32))).decode()


def create(talk: Talk, role: str, content: Any, **fields: Any) -> Event:
    """Create a message and return it as the server shows it, and keeps it."""
    item = {"type": "message", "role": role, "content": content, **fields}
    talk.send("conversation.item.create", item=item)
    events = talk.until("conversation.item.done")
    assert not [event for event in events if event["type"] == "error"]
    shown: Event = events[-1]["item"]
    talk.send("conversation.item.retrieve", item_id=shown["id"])
    assert talk.until("conversation.item.retrieved")[-1]["item"] == shown
    return shown


def test_all_parts_of_a_message_are_kept_in_order_and_shown(connect: Connect) -> None:
    engine = ScriptedEngine([text_ids("Noon.")])
    content = [
        {"type": "input_text", "text": "first"},
        {"type": "input_audio", "audio": HALF, "transcript": "second"},
        {"type": "input_text", "text": "third"},
        {"type": "input_text", "text": "fourth"},
        {"type": "input_audio", "audio": SECOND},
        {"type": "input_audio", "transcript": "fifth"},
    ]
    with talking(connect(engine=engine)) as talk:
        shown = create(talk, "user", content)
        assert shown["content"] == [
            {"type": "input_text", "text": "first"},
            {"type": "input_audio", "transcript": "second"},
            {"type": "input_text", "text": "third"},
            {"type": "input_text", "text": "fourth"},
            {"type": "input_audio", "transcript": None},
            {"type": "input_audio", "transcript": "fifth"},
        ]
        talk.send("response.create", response={"output_modalities": ["text"]})
        assert talk.until("response.done")[-1]["response"]["status"] == "completed"
    prompt = engine.requests[0].prompt
    sounds = [VOCAB.is_audio(token_id) for token_id in prompt]
    assert sum(sounds) == 5 * (5 + 9)  # groups of half a second and of a second
    words = bytes(i - 300 for i in prompt if 300 <= i < 556).decode()
    order = [words.index(word) for word in ("first", "third\nfourth", "fifth")]
    assert order == sorted(order)


def test_a_given_transcript_stays_whatever_the_model_hears(connect: Connect) -> None:
    heard = [6, *text_ids("mumble"), 7, *text_ids("Noon.")]
    with talking(connect([heard])) as talk:
        part = {"type": "input_audio", "audio": SECOND, "transcript": "what time is it"}
        shown = create(talk, "user", [part])
        assert shown["content"] == [{"type": "input_audio", "transcript": "what time is it"}]
        talk.send("response.create", response={"output_modalities": ["text"]})
        talk.until("response.done")
        talk.send("conversation.item.retrieve", item_id=shown["id"])
        kept = talk.until("conversation.item.retrieved")[-1]["item"]
        assert kept["content"] == shown["content"]


def test_a_sample_cut_over_two_parts_is_whole(connect: Connect) -> None:
    data = base64.b64decode(SECOND)
    parts = [
        {"type": "input_audio", "audio": base64.b64encode(piece).decode()}
        for piece in (data[:24_001], data[24_001:])
    ]
    with talking(connect()) as talk:
        assert len(create(talk, "user", parts)["content"]) == 2


HARMLESS: list[tuple[str, Any]] = [
    ("user", []),
    ("user", None),
    ("user", [{"type": "input_text", "text": ""}]),
    ("user", [{"type": "input_text", "text": None}]),
    ("user", [{"type": "input_text", "text": "  "}, {"type": "input_text", "text": "hello"}]),
    ("user", [{"type": "input_audio", "audio": "", "transcript": None}]),
    ("assistant", []),
    ("assistant", None),
    ("assistant", [{"type": "output_text", "text": ""}]),
    ("assistant", [{"type": "output_audio", "transcript": "It is noon."}]),
    ("assistant", [{"type": "text", "text": "It is"}, {"type": "text", "text": "noon."}]),
    ("system", []),
]


@pytest.mark.parametrize(("role", "content"), HARMLESS)
def test_a_message_that_says_nothing_is_no_error(connect: Connect, role: str, content: Any) -> None:
    engine = ScriptedEngine([text_ids("Noon.")])
    with talking(connect(engine=engine)) as talk:
        shown = create(talk, role, content)
        assert len(shown["content"]) == len(content or [])
        talk.send("response.create", response={"output_modalities": ["text"]})
        assert talk.until("response.done")[-1]["response"]["status"] == "completed"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (
            {"type": "message", "role": "developer", "content": "Be brief."},
            {"role": "system", "content": [{"type": "input_text", "text": "Be brief."}]},
        ),
        (
            {"type": "message", "role": "assistant", "content": ["It is", None, "noon."]},
            {
                "content": [
                    {"type": "output_text", "text": "It is"},
                    {"type": "output_text", "text": "noon."},
                ]
            },
        ),
        (
            {"type": "function_call", "call_id": "d", "name": "go", "arguments": {"to": "é"}},
            {"arguments": '{"to": "é"}'},
        ),
        ({"type": "function_call_output", "call_id": "c", "output": [1]}, {"output": "[1]"}),
    ],
)
def test_items_as_other_interfaces_have_them_are_taken(
    connect: Connect, given: dict[str, Any], shown: dict[str, Any]
) -> None:
    with talking(connect()) as talk:
        call = {"type": "function_call", "call_id": "c", "name": "go"}
        talk.send("conversation.item.create", item=call)
        talk.until("conversation.item.done")
        talk.send("conversation.item.create", item=given)
        item = talk.until("conversation.item.done")[-1]["item"]
        assert {key: item[key] for key in shown} == shown


def test_calls_and_results_without_a_word_are_no_error(connect: Connect) -> None:
    with talking(connect()) as talk:
        call = {"type": "function_call", "call_id": "c", "name": "go", "arguments": None}
        result = {"type": "function_call_output", "call_id": "c", "output": None}
        for item in (call, result):
            talk.send("conversation.item.create", item=item)
            assert talk.until("conversation.item.done")[-1]["item"]["status"] == "completed"


def test_a_time_with_a_fraction_is_a_time(connect: Connect) -> None:
    with talking(connect()) as talk:
        error = talk.error(
            "conversation.item.truncate", item_id="x", content_index=None, audio_end_ms=12.5
        )
        assert error["code"] == "item_not_found"


GROUPS = (group(1), group(2))


def test_a_message_of_several_parts_is_one_turn_of_a_prompt() -> None:
    said = SpokenPart(GROUPS, "noon")
    conversation = Conversation()
    conversation.add(
        MultiPartMessage("a", "human", (WrittenPart("at"), said, WrittenPart(""), WrittenPart("?")))
    )
    question = Turn("human", (Text("at"), Audio(GROUPS), Text("?")))
    assert turns(conversation, "") == [question]
    conversation.add(Typed("b", "assistant", "Yes."))
    answer = Turn("assistant", (Heard("noon"), Text("Yes.")))
    assert turns(conversation, "") == [question, answer]
    conversation.add(MultiPartMessage("c", "human", (WrittenPart(" "),)))
    assert turns(conversation, "") == [question, answer]
    conversation.add(UserAudio("d", GROUPS))
    assert turns(conversation, "")[0] == Turn("human", (Text("at\nnoon\n?"),))


def test_a_model_that_writes_no_transcripts_is_shown_none() -> None:
    vocab = Vocab(audio_base=1000, bos=1, bot=4, eot=3)
    context = ContextWindow(PromptBuilder(ByteTokenizer(), vocab), vocab, max_ids=1000)
    conversation = Conversation()
    conversation.add(UserAudio("a", GROUPS, "noon"))
    conversation.add(Typed("b", "assistant", "Yes."))
    assert context.prompt(conversation, "").ids


def test_a_mixed_message_that_is_too_long_leaves_no_half_group() -> None:
    context = ContextWindow(PromptBuilder(ByteTokenizer(), VOCAB), VOCAB, max_ids=200)
    conversation = Conversation()
    sound = SpokenPart(tuple(group(n) for n in range(60)))
    conversation.add(MultiPartMessage("a", "human", (WrittenPart("listen to this"), sound)))
    ids = context.prompt(conversation, "").ids
    assert sum(map(VOCAB.is_audio, ids)) % 5 == 0
