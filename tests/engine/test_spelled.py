"""Ids found again in text, however the text is cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from step_audio.engine.spelled import SpelledIds
from tests.fakes import VOCAB, ByteTokenizer, text_ids

TEXT = "one <audio_0><audio_1023>two<audio_5119><audio_5120><audio_x <audio_12345> <a"
IDS = [
    *text_ids("one "),
    1000,
    2023,
    *text_ids("two"),
    6119,
    *text_ids("<audio_5120><audio_x <audio_12345> <a"),
]


def spelled() -> SpelledIds:
    return SpelledIds(ByteTokenizer(), VOCAB)


def ids_of(pieces: list[str]) -> list[int]:
    stage = spelled()
    return [i for piece in pieces for i in stage.push(piece)] + list(stage.flush())


@given(cuts=st.lists(st.integers(0, len(TEXT)), max_size=12))
def test_audio_ids_and_text_ids_alternate_however_the_text_is_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(TEXT)]
    pieces = [TEXT[a:b] for a, b in pairwise(edges)]
    assert [i for i in ids_of(pieces) if i != 5] == IDS


def test_text_does_not_wait_for_what_cannot_be_a_tag() -> None:
    stage = spelled()
    assert list(stage.push("a < b")) == text_ids("a < b")
    assert list(stage.push("<audio_12")) == []
    assert list(stage.push(">")) == [1012]
    assert list(stage.flush()) == []


def test_two_streams_do_not_mix() -> None:
    one, two = spelled(), spelled()
    one.push("<audio_")
    assert list(two.push("7>")) == text_ids("7>")
    assert list(one.push("7>")) == [1007]
