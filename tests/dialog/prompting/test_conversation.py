import pytest

from step_audio.core.errors import DuplicateItem, ItemNotFound, Overloaded
from step_audio.core.types import TextDelta, TokenGroup, ToolCall, ToolResult, Transcript
from step_audio.dialog.prompting.conversation import (
    ROOT,
    Answer,
    Called,
    Conversation,
    Returned,
    Typed,
    UserAudio,
)
from step_audio.dialog.prompting.prompt import Audio, Call, Heard, Spoken, Text, Turn
from step_audio.dialog.prompting.rendering import turns
from tests.fakes import group

G1, G2 = (group(1),), (group(2),)


def spoken(item_id: str, text: str, groups: int) -> Answer:
    """Return an answer whose text came before its sound, 10 characters for 3 groups."""
    answer = Answer(item_id)
    for at in range(0, max(len(text), groups * 10 // 3), 10):
        answer.add(TextDelta(text[at : at + 10]))
        for n in range(at // 10 * 3, min(groups, at // 10 * 3 + 3)):
            answer.add(group(n))
    return answer


def ids(conversation: Conversation) -> list[str]:
    return [item.item_id for item in conversation]


def test_items_go_to_the_end_the_front_or_after_another() -> None:
    talk = Conversation()
    assert talk.add(Typed("a", "human", "x")) is None
    assert talk.add(Typed("b", "human", "x")) == "a"
    assert talk.add(Typed("c", "human", "x"), after="a") == "a"
    assert talk.add(Typed("d", "human", "x"), after=ROOT) is None
    assert ids(talk) == ["d", "a", "c", "b"]
    talk.delete("c")
    assert ids(talk) == ["d", "a", "b"]


def test_what_is_refused_changes_nothing() -> None:
    talk = Conversation(max_items=1)
    talk.add(Typed("a", "human", "x"))
    with pytest.raises(DuplicateItem):
        talk.add(Typed("a", "human", "y"))
    with pytest.raises(Overloaded):
        talk.add(Typed("b", "human", "y"))
    for act in (
        lambda: talk.get("zz"),
        lambda: talk.delete("zz"),
        lambda: talk.truncate("a", 100),
        lambda: talk.transcribe("a", Transcript("t")),
    ):
        with pytest.raises(ItemNotFound):
            act()
    assert ids(talk) == ["a"]


def test_past_turns_are_shown_as_text_and_the_question_as_sound() -> None:
    talk = Conversation()
    talk.add(UserAudio("q1", G1, transcript="hello"))
    talk.add(spoken("a1", "hi there", 2))
    talk.add(UserAudio("q2", G2))
    assert turns(talk, "assistant") == [
        Turn("system", (Text("assistant"),)),
        Turn("human", (Text("hello"),)),
        Turn("assistant", (Text("hi there"),)),
        Turn("human", (Audio(G2),)),
    ]


def test_past_turns_may_be_shown_as_sound() -> None:
    talk = Conversation()
    talk.add(UserAudio("q1", G1, transcript="hello"))
    talk.add(spoken("a1", "hi there", 2))
    talk.add(UserAudio("q2", G2))
    assert turns(talk, "", recent_audio=1) == [
        Turn("human", (Audio(G1),)),
        Turn("assistant", (Heard("hello"), Spoken("hi there", (group(0), group(1))))),
        Turn("human", (Audio(G2),)),
    ]


def test_a_tool_result_follows_the_transcript_and_the_call() -> None:
    talk = Conversation()
    talk.add(UserAudio("q", G1))
    talk.transcribe("q", Transcript("what time is it"))
    talk.add(Called("c", ToolCall("call_1", "get_time", "{}")))
    talk.add(Returned("r", ToolResult("call_1", "get_time", '"noon"')))
    assert talk.has_call("call_1")
    assert not talk.has_call("call_2")
    assert turns(talk, "") == [
        Turn("human", (Audio(G1),)),
        Turn("assistant", (Heard("what time is it"), Call("get_time", "{}"))),
        Turn("tool", (Text('"noon"'),)),
    ]


def test_the_boundary_between_words_and_sound_moves_in_steps() -> None:
    talk, shown = Conversation(), []
    for n in range(9):
        talk.add(UserAudio(f"q{n}", G1, transcript="hello"))
        asked = [turn for turn in turns(talk, "", recent_audio=2) if turn.role == "human"]
        shown.append([turn.parts[0] == Audio(G1) for turn in asked])
        talk.add(spoken(f"a{n}", "hi", 1))
    # The question itself, and two or three before it.
    assert [sum(kinds) for kinds in shown] == [1, 2, 3, 4, 3, 4, 3, 4, 3]
    assert all(kinds == sorted(kinds) for kinds in shown)


def test_a_question_still_being_spoken_is_shown_behind_the_others() -> None:
    talk = Conversation()
    talk.add(UserAudio("q1", G1, transcript="hello"))
    assert turns(talk, "", coming=UserAudio("", G2)) == [
        Turn("human", (Text("hello"),)),
        Turn("human", (Audio(G2),)),
    ]
    assert len(talk) == 1


def test_truncation_keeps_the_groups_that_were_heard_and_no_more_text() -> None:
    talk = Conversation()
    answer = spoken("a", "one two three four five six", 10)
    talk.add(answer)
    talk.truncate("a", 500)  # inside the fifth group
    assert len(answer.groups) == 5
    assert answer.text == "one two three"
    answer.add(TextDelta(" late"))
    answer.add(group(99))
    assert (answer.text, answer.duration_ms) == ("one two three", 600)


@pytest.mark.parametrize(
    ("end_ms", "groups", "text"), [(0, 0, ""), (99_999, 10, None), (1200, 10, None)]
)
def test_truncation_is_clamped_to_what_was_said(end_ms: int, groups: int, text: str | None) -> None:
    whole = "one two three four five six"
    answer = spoken("a", whole, 10)
    answer.truncate(end_ms)
    assert (len(answer.groups), answer.text) == (groups, whole if text is None else text)


def test_a_fork_leaves_the_conversation_alone_until_it_is_adopted() -> None:
    talk = Conversation()
    talk.add(Typed("a", "human", "one"))
    fork = talk.fork()
    fork.add(Typed("b", "human", "two"))
    assert (talk.has("b"), fork.has("b")) == (False, True)
    talk.adopt(fork)
    assert talk.has("b")
    fork.add(Typed("c", "human", "three"))
    assert talk.has("c")


def test_a_better_estimate_of_what_was_heard_replaces_the_first() -> None:
    answer = Answer("a")
    for n in range(8):
        answer.add(TextDelta(f"word{n} "))
        answer.add(TokenGroup((n, n), (n, n, n)))
    answer.truncate(240)
    short = answer.text
    answer.truncate(600)
    assert answer.text.startswith(short)
    assert (answer.duration_ms, len(answer.text) > len(short)) == (600, True)
    answer.truncate(99_999)
    assert answer.duration_ms == 8 * 120


def test_the_rest_of_an_answer_is_an_answer_of_its_own() -> None:
    answer = Answer("a")
    for n in range(4):
        answer.add(TextDelta(f"w{n} "))
        answer.add(TokenGroup((n, n), (n, n, n)))
    answer.truncate(240)
    rest = answer.go_on("b")
    answer.add(TextDelta("end"))
    answer.add(TokenGroup((9, 9), (9, 9, 9)))
    assert answer.text + rest.text == "w0 w1 w2 w3 end"
    assert [g.linguistic[0] for g in answer.groups + rest.groups] == [0, 1, 2, 3, 9]
    rest.truncate(120)
    again = rest.go_on("c")
    answer.add(TextDelta("!"))
    assert answer.text + rest.text + again.text == "w0 w1 w2 w3 end!"
