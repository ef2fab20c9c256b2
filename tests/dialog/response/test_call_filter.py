"""`CallFilter` alone: what leaves it does not depend on how the text was cut."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from step_audio.core.types import TextDelta, ToolCall, Transcript
from step_audio.dialog.prompting.tool_syntax import JsonSchemaSyntax
from step_audio.dialog.response.call_filter import CallFilter
from step_audio.dialog.response.parser import Parsed
from tests.fakes import group, numbered

CALLS = "\n".join(JsonSchemaSyntax().write(name, "{}") for name in ("a", "b"))
WANTED = [ToolCall("call_1", "a", "{}"), ToolCall("call_2", "b", "{}")]


def sieve() -> CallFilter:
    return CallFilter(JsonSchemaSyntax(), numbered("call_"))


def sifted(text: str, cuts: list[int]) -> tuple[str, list[Parsed]]:
    stage, edges = sieve(), [0, *sorted(cuts), len(text)]
    out = [e for a, b in pairwise(edges) for e in stage.push(TextDelta(text[a:b]))]
    out += stage.flush()
    said = "".join(event.text for event in out if isinstance(event, TextDelta))
    return said, [event for event in out if not isinstance(event, TextDelta)]


@given(st.lists(st.integers(0, len(CALLS))))
def test_text_may_be_cut_anywhere(cuts: list[int]) -> None:
    text = f" Let me\nsee. \n{CALLS}\nIt is six."
    assert sifted(text, cuts) == (" Let me\nsee.", WANTED)
    assert sifted(f"\n{CALLS}\n", cuts) == ("", WANTED)


@given(st.text(alphabet="ab <>/_\n", max_size=40), st.lists(st.integers(0, 40)))
def test_text_without_tags_passes_unchanged(text: str, cuts: list[int]) -> None:
    said, others = sifted(text, [min(cut, len(text)) for cut in cuts])
    assert others == []
    assert said == (text if text.strip() else "")


def test_other_events_pass_in_their_place() -> None:
    stage = sieve()
    assert stage.push(Transcript("hi")) == [Transcript("hi")]
    assert stage.push(group(1)) == [group(1)]
    assert stage.push(TextDelta("<tool_")) == []
    assert stage.push(group(2)) == []


def test_two_streams_do_not_mix() -> None:
    one, other = sieve(), sieve()
    one.push(TextDelta(CALLS[:30]))
    assert other.push(TextDelta("plain")) == [TextDelta("plain")]
    assert one.push(TextDelta(CALLS[30:])) + one.flush() == WANTED
