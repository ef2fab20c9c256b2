"""A prompt always fits, begins like the one before it, and is counted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from step_audio.core.errors import InputError
from step_audio.core.types import Role, TextDelta, TokenGroup, ToolCall, ToolResult
from step_audio.core.vocab import Vocab
from step_audio.dialog.prompting.context_window import ContextWindow
from step_audio.dialog.prompting.conversation import (
    Answer,
    Called,
    Conversation,
    Returned,
    Typed,
    UserAudio,
)
from step_audio.dialog.prompting.prompt import Audio, PromptBuilder, Text, Turn
from step_audio.dialog.prompting.rendering import turns
from tests.fakes import VOCAB, ByteTokenizer, group

BUILDER = PromptBuilder(ByteTokenizer(), VOCAB)
LINGUISTIC_ONLY = replace(VOCAB, hears_semantic=False)


def context(max_ids: int, recent_audio: int = 0, vocab: Vocab = VOCAB) -> ContextWindow:
    builder = PromptBuilder(ByteTokenizer(), vocab)
    return ContextWindow(builder, vocab, max_ids=max_ids, recent_audio=recent_audio)


def groups(count: int) -> tuple[TokenGroup, ...]:
    return tuple(group(n) for n in range(count))


def exchange(talk: Conversation, number: int, *, seconds: int = 4) -> None:
    """A spoken question with a tool call, and a spoken answer."""
    talk.add(UserAudio(f"q{number}", groups(8 * seconds), f"question {number}"))
    talk.add(Called(f"c{number}", ToolCall(f"call{number}", "get_time", "{}")))
    talk.add(Returned(f"r{number}", ToolResult(f"call{number}", "get_time", "1")))
    answer = Answer(f"a{number}")
    talk.add(answer)
    answer.add(TextDelta(f"answer {number}"))
    for spoken in groups(5):
        answer.add(spoken)


def test_what_fits_is_shown_whole() -> None:
    talk = Conversation()
    exchange(talk, 0)
    talk.add(UserAudio("q", groups(3)))
    prompt = context(1000).prompt(talk, "be kind")
    assert prompt.ids == tuple(BUILDER.chat(turns(talk, "be kind")))
    assert (prompt.audio_ids, prompt.left_out) == (15, 0)


@pytest.mark.parametrize("recent_audio", [0, 1, 3])
def test_a_long_conversation_is_compacted_in_steps(recent_audio: int) -> None:
    talk, made = Conversation(), context(1200, recent_audio)
    before: tuple[int, ...] = ()
    compactions, left_out = 0, []
    for number in range(60):
        talk.add(UserAudio("now", groups(30)))
        prompt = made.prompt(talk, "be kind")
        assert len(prompt.ids) <= 1200
        assert prompt.ids[-len(BUILDER.header("assistant")) :] == tuple(BUILDER.header("assistant"))
        left_out.append(prompt.left_out)
        # The question of before is words now; all in front of it should be as it was.
        shared = len(before) - 30 * 5 - len(BUILDER.header("assistant")) - 1
        if recent_audio == 0:
            compactions += prompt.ids[:shared] != before[:shared]
        before = prompt.ids
        talk.delete("now")
        exchange(talk, number)
    assert left_out == sorted(left_out) or recent_audio
    assert left_out[-1] > 0
    if recent_audio == 0:
        assert compactions <= 60 // 4


def test_dropped_exchanges_are_whole_and_the_system_text_stays() -> None:
    talk = Conversation()
    for number in range(30):
        exchange(talk, number)
    talk.add(UserAudio("q", groups(3)))
    ids = context(800).prompt(talk, "be kind").ids
    whole = tuple(BUILDER.chat(turns(talk, "be kind")))
    head = tuple(BUILDER.turn(Turn("system", (Text("be kind"),))))
    assert ids[: len(head)] == head
    assert whole[-(len(ids) - len(head)) :] == ids[len(head) :]
    human = BUILDER.header("human")
    assert list(ids[len(head) : len(head) + len(human)]) == human


@pytest.mark.parametrize("vocab", [VOCAB, LINGUISTIC_ONLY])
def test_a_question_that_is_too_long_loses_its_beginning_in_whole_groups(vocab: Vocab) -> None:
    talk, question = Conversation(), groups(200)
    talk.add(UserAudio("q", question))
    prompt = context(203, vocab=vocab).prompt(talk, "")
    builder = PromptBuilder(ByteTokenizer(), vocab)
    kept = [question[n:] for n in range(201)]
    shown = [tuple(builder.chat((Turn("human", (Audio(rest),)),))) for rest in kept]
    assert prompt.ids in shown
    assert 203 - 5 < len(prompt.ids) <= 203
    assert prompt.left_out > 0


def test_a_system_text_that_is_too_long_loses_its_end() -> None:
    talk = Conversation()
    talk.add(Typed("q", "human", "hello"))
    ids = context(200).prompt(talk, "abc" * 1000).ids
    start = tuple(BUILDER.turn(Turn("system", (Text("abc" * 20),))))[:-1]
    assert ids[: len(start)] == start
    end = tuple(BUILDER.chat((Turn("human", (Text("hello"),)),)))
    assert ids[-len(end) :] == end


@settings(max_examples=60)
@given(data=st.data())
def test_no_conversation_is_too_long_for_any_context(data: st.DataObject) -> None:
    talk = Conversation()
    for number in range(data.draw(st.integers(0, 12))):
        kind = data.draw(st.sampled_from(["spoken", "typed", "exchange", "system"]))
        if kind == "exchange":
            exchange(talk, number, seconds=data.draw(st.integers(1, 20)))
        elif kind == "spoken":
            talk.add(UserAudio(f"s{number}", groups(data.draw(st.integers(0, 300)))))
        else:
            role: Role = "system" if kind == "system" else "human"
            talk.add(Typed(f"t{number}", role, "x" * data.draw(st.integers(0, 2000))))
    max_ids = data.draw(st.integers(150, 2000))
    made = context(max_ids, data.draw(st.integers(0, 3)))
    prompt = made.prompt(talk, "y" * data.draw(st.integers(0, 500)))
    assert len(prompt.ids) <= max_ids


def test_a_context_without_room_for_any_prompt_is_refused() -> None:
    talk = Conversation()
    talk.add(Typed("q", "human", "hello"))
    with pytest.raises(InputError, match=r"too few for any; lower sampling\.max_tokens"):
        context(15).prompt(talk, "")


@pytest.mark.parametrize("vocab", [VOCAB, LINGUISTIC_ONLY])
@pytest.mark.parametrize("past", [0, 2, 40])
def test_what_is_read_ahead_begins_the_prompt(vocab: Vocab, past: int) -> None:
    talk, made = Conversation(), context(1200, vocab=vocab)
    for number in range(past):
        exchange(talk, number)
    question = groups(40)
    ahead = [made.so_far(talk, "be kind", question[:n]) for n in range(0, 41, 8)]
    talk.add(UserAudio("q", question))
    ids = made.prompt(talk, "be kind").ids
    assert all(ids[: len(prefix)] == prefix for prefix in ahead)
    assert len(ids) - len(ahead[-1]) == 1 + len(BUILDER.header("assistant"))
