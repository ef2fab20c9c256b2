import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_audio.core import toolformat
from step_audio.core.errors import InputError, ToolError
from step_audio.core.ports import ToolSpec
from step_audio.dialog.prompting.tool_syntax import (
    MAX_CALL_CHARS,
    UNREADABLE,
    CallFinder,
    JsonSchemaSyntax,
    MarkerSyntax,
    WrittenCall,
    tool_syntax_of,
)

CALL = WrittenCall("get_weather", '{"city": "London"}')
TEXT = f"Let me see. {JsonSchemaSyntax().write(CALL.name, CALL.arguments)} < and <tool> stay."


@pytest.mark.parametrize("name", ["nano", "json_schemas"])
def test_each_dialect_reads_what_it_writes(name: str) -> None:
    dialect = tool_syntax_of(name)
    assert dialect.read(dialect.write(CALL.name, CALL.arguments)) == CALL
    assert dialect.read(dialect.write("now", "")) == WrittenCall("now", "{}")


def test_an_unknown_dialect_is_named() -> None:
    with pytest.raises(InputError, match="'latin'"):
        tool_syntax_of("latin")


def test_nano_reads_errors_as_it_learned_them() -> None:
    assert MarkerSyntax().failure(ToolError("the server is down")) == toolformat.FAILED


def test_the_published_models_are_told_what_went_wrong() -> None:
    told = JsonSchemaSyntax().failure(ToolError('no "x"'))
    assert json.loads(told) == {"error": 'no "x"'}


def test_tools_are_listed_as_openai_clients_send_them() -> None:
    spec = ToolSpec("now", "Tell the time.", {"type": "object", "properties": {}})
    (shown,) = json.loads(JsonSchemaSyntax().list_tools([spec]))
    assert shown["type"] == "function"
    assert shown["function"] == {
        "name": "now",
        "description": "Tell the time.",
        "parameters": {"type": "object", "properties": {}},
    }


@pytest.mark.parametrize(
    "text", ["", "hello", "<tool_call></tool_call>", "<tool_call>dance\nx\n{}</tool_call>"]
)
def test_what_is_no_call_is_not_read_as_one(text: str) -> None:
    assert JsonSchemaSyntax().read(text) is None


def found(pieces: list[str]) -> list[str | WrittenCall]:
    finder = CallFinder(JsonSchemaSyntax())
    out = [item for piece in pieces for item in finder.push(piece)]
    return [*out, *finder.flush()]


def joined(items: list[str | WrittenCall]) -> list[str | WrittenCall]:
    """Text between calls as one piece."""
    out: list[str | WrittenCall] = []
    for item in items:
        if out and isinstance(item, str) and isinstance(last := out[-1], str):
            out[-1] = last + item
        else:
            out.append(item)
    return out


@given(cuts=st.lists(st.integers(0, len(TEXT))))
def test_the_finder_does_not_care_how_its_text_is_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(TEXT)]
    pieces = [TEXT[a:b] for a, b in pairwise(edges)]
    assert joined(found(pieces)) == ["Let me see. ", CALL, " < and <tool> stay."]


def test_text_passes_at_once_unless_it_may_begin_a_call() -> None:
    finder = CallFinder(JsonSchemaSyntax())
    assert finder.push("One moment") == ["One moment"]
    assert finder.push(" <tool") == [" "]
    assert finder.push("box>") == ["<toolbox>"]


def test_several_calls_in_a_row_are_all_found() -> None:
    written = JsonSchemaSyntax().write("a", "{}") + JsonSchemaSyntax().write("b", "{}")
    assert found([written]) == [WrittenCall("a", "{}"), WrittenCall("b", "{}")]


def test_a_call_that_the_turn_cut_off_counts_when_it_has_a_name() -> None:
    assert found(["<tool_call>function\nnow\n"]) == [WrittenCall("now", "{}")]
    assert found(["<tool_call>func"]) == [WrittenCall(UNREADABLE, "func")]


def test_a_call_may_be_a_json_object_between_the_tags() -> None:
    shown = '{"name": "now", "arguments": {"city": "Paris"}}'
    assert found([f"<tool_call>\n{shown}\n</tool_call>"]) == [
        WrittenCall("now", '{"city": "Paris"}')
    ]
    assert found(['<tool_call>{"name": "now"}</tool_call>']) == [WrittenCall("now", "{}")]


@pytest.mark.parametrize("body", ["dance", "{", "{}", '{"name": 3}', "function\n\n", ""])
def test_nothing_between_tags_is_ever_text(body: str) -> None:
    assert found([f"Hm. <tool_call>{body}</tool_call> Yes."]) == [
        "Hm. ",
        WrittenCall(UNREADABLE, body.strip()),
        " Yes.",
    ]


@pytest.mark.parametrize("text", ["</tool_call>", "a </tool_call>b", "a b</tool_cal", "a b<tool_c"])
def test_tags_without_a_call_are_dropped(text: str) -> None:
    assert "".join(map(str, found(list(text)))) in ("", "a b")


def test_a_call_without_end_is_refused() -> None:
    with pytest.raises(ToolError, match="characters"):
        CallFinder(JsonSchemaSyntax()).push("<tool_call>" + "x" * (MAX_CALL_CHARS + 1))


def test_two_streams_do_not_mix() -> None:
    one, other = CallFinder(JsonSchemaSyntax()), CallFinder(JsonSchemaSyntax())
    one.push("<tool_call>function\na\n{}")
    assert other.push("plain") == ["plain"]
    assert one.push("</tool_call>") == [WrittenCall("a", "{}")]
