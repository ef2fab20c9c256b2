"""Codes, ids and their text form."""

from __future__ import annotations

from dataclasses import replace

import pytest

from step_audio.core.errors import TokenError
from step_audio.core.types import TokenGroup
from step_audio.core.vocab import Vocab, from_text, to_text, vocoder_codes

PUBLISHED = Vocab()
GROUPS = (TokenGroup((0, 1023), (0, 1, 4095)), TokenGroup((5, 6), (7, 8, 9)))


def test_a_group_is_two_linguistic_then_three_semantic_ids() -> None:
    assert PUBLISHED.group_ids(GROUPS[0]) == (65536, 66559, 66560, 66561, 70655)
    assert PUBLISHED.size == 65536 + 5120


def test_ids_and_groups_are_inverse() -> None:
    ids = PUBLISHED.ids(GROUPS)
    assert tuple(PUBLISHED.group(ids[at : at + 5]) for at in (0, 5)) == GROUPS


@pytest.mark.parametrize("ids", [[65536] * 5, [66560] * 5, [65536, 65537, 66560, 66561], []])
def test_ids_in_another_order_are_no_group(ids: list[int]) -> None:
    with pytest.raises(TokenError, match="not 2 linguistic then 3 semantic"):
        PUBLISHED.group(ids)


@pytest.mark.parametrize("code", [-1, 1024])
def test_a_linguistic_code_outside_its_table_is_refused(code: int) -> None:
    with pytest.raises(TokenError, match="outside"):
        PUBLISHED.linguistic_id(code)


@pytest.mark.parametrize("token_id", [0, 65535, 65536 + 5120])
def test_a_text_id_is_no_vocoder_code(token_id: int) -> None:
    with pytest.raises(TokenError, match="not an audio id"):
        PUBLISHED.vocoder_code(token_id)


def test_vocoder_codes_do_not_depend_on_the_text_vocabulary() -> None:
    assert vocoder_codes(GROUPS)[:5] == [0, 1023, 1024, 1025, 5119]


def test_text_form_and_ids_are_inverse() -> None:
    ids = PUBLISHED.ids(GROUPS)
    assert to_text(ids[:1], PUBLISHED) == "<audio_0>"
    assert from_text(f"so {to_text(ids, PUBLISHED)} there", PUBLISHED) == ids


def test_a_text_form_beyond_the_codebooks_is_refused() -> None:
    with pytest.raises(TokenError):
        from_text("<audio_5120>", PUBLISHED)


def test_a_model_that_hears_one_codebook_is_shown_the_linguistic_ids_alone() -> None:
    one = replace(PUBLISHED, hears_semantic=False)
    assert one.question_ids(GROUPS) == [65536, 66559, 65541, 65542]
    assert one.ids(GROUPS) == PUBLISHED.question_ids(GROUPS) == PUBLISHED.ids(GROUPS)
