from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_audio.core.types import TextDelta, TokenGroup, ToolCall, Transcript
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.response.parser import Parsed, TokenParser
from tests.fakes import VOCAB, ByteTokenizer, group, numbered, text_ids


def parser() -> TokenParser:
    return TokenParser(ByteTokenizer(), VOCAB, numbered("call_"))


def parse(ids: list[int]) -> tuple[list[Parsed], int]:
    stage = parser()
    out = [event for token_id in ids for event in stage.push(token_id)]
    out += stage.flush()
    return out, stage.counts.anomalies


def text_of(events: list[Parsed]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def groups_of(events: list[Parsed]) -> list[TokenGroup]:
    return [event for event in events if isinstance(event, TokenGroup)]


@given(st.text(max_size=60), st.lists(st.integers(0, 1000), max_size=12))
def test_parser_undoes_the_packer(text: str, numbers: list[int]) -> None:
    groups = [group(n) for n in numbers]
    text = text.encode(errors="ignore").decode()
    events, anomalies = parse(interleave(text_ids(text), groups, VOCAB))
    assert (text_of(events), groups_of(events), anomalies) == (text, groups, 0)


def test_packer_puts_the_rest_of_the_audio_after_the_text() -> None:
    groups = [group(n) for n in range(5)]
    assert interleave([7] * 2, groups, VOCAB) == [7, 7, *VOCAB.ids(groups)]


def test_transcript_comes_before_the_answer() -> None:
    ids = [6, *text_ids(" what time "), 7, *text_ids("Noon"), *VOCAB.ids([group(1)])]
    events, anomalies = parse(ids)
    assert events[0] == Transcript("what time")
    assert (text_of(events), groups_of(events), anomalies) == ("Noon", [group(1)], 0)


def test_a_call_runs_to_the_end_of_the_turn() -> None:
    events, anomalies = parse([6, *text_ids("hi"), 7, 8, *text_ids('get_time {"city":"A B"}')])
    assert events == [Transcript("hi"), ToolCall("call_1", "get_time", '{"city":"A B"}')]
    assert anomalies == 0


def test_a_call_without_arguments_gets_an_empty_object() -> None:
    assert parse([8, *text_ids("get_date")])[0] == [ToolCall("call_1", "get_date", "{}")]


def test_an_unclosed_transcript_is_still_delivered() -> None:
    assert parse([6, *text_ids("half")])[0] == [Transcript("half")]


GOOD = VOCAB.ids([group(9)])


@pytest.mark.parametrize(
    ("broken", "anomalies"),
    [
        (GOOD[:3], 3),  # stops inside a group
        (GOOD[:1], 1),
        ([GOOD[2]], 1),  # semantic id without its linguistic ids
        (GOOD[1:], 4),
        ([7], 1),  # transcript closed that was never opened
        ([1], 1),  # a special id in the middle of a turn
        ([8], 1),  # a call without a name
    ],
)
def test_broken_ids_cost_only_themselves(broken: list[int], anomalies: int) -> None:
    before, after = VOCAB.ids([group(1)]), VOCAB.ids([group(2)])
    events, count = parse([*before, *broken, *after])
    assert groups_of(events) == [group(1), group(2)]
    assert count == anomalies


@given(
    st.lists(
        st.integers(0, VOCAB.size - 1).filter(lambda i: not 9 <= i < 300 and not 555 < i < 1000),
        max_size=80,
    )
)
def test_no_sequence_of_ids_breaks_the_parser(ids: list[int]) -> None:
    known = [i for i in ids if i not in (0, 2)]
    events, anomalies = parse(known)
    audio = sum(VOCAB.is_audio(i) for i in known)
    assert 5 * len(groups_of(events)) + anomalies >= audio


def test_markers_around_speech_are_passed_over_and_counted() -> None:
    vocab = replace(VOCAB, audio_start=9000, audio_end=9001)
    parser = TokenParser(ByteTokenizer(), vocab, numbered("call"))
    ids = [*text_ids("hi"), 9000, *vocab.group_ids(group(1)), 9001, *text_ids("!")]
    out = [event for token_id in ids for event in parser.push(token_id)] + list(parser.flush())
    assert out == [TextDelta("h"), TextDelta("i"), group(1), TextDelta("!")]
    assert (parser.counts.markers, parser.counts.anomalies) == (2, 0)
