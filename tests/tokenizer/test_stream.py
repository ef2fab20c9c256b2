"""Groups of both codebooks, and the laws of the whole stream."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from step_audio.core.errors import AudioError
from step_audio.core.types import TokenGroup
from tests import laws
from tests.tokenizer import golden
from tokenizer.grouping import Grouper, interleave
from tokenizer.preprocess import normalise_level, trim_silence
from tokenizer.stream import DualCodebookTokenizer

CLIP = golden.sound("en_5")


@given(a=st.integers(0, 9), b=st.integers(0, 9))
def test_groups_do_not_care_when_their_codes_arrive(a: int, b: int) -> None:
    grouper, one, two = Grouper(), list(range(9)), list(range(12))
    got = grouper.add(one[:a], two[:b]) + grouper.add(one[a:], two[b:])
    assert got == interleave(one, two)
    assert got[0] == TokenGroup((0, 1), (0, 1, 2))


@pytest.mark.parametrize("trim", [False, True])
def test_reference_path_levels_then_trims_the_whole_clip(
    audio_tokenizer: DualCodebookTokenizer, trim: bool
) -> None:
    levelled = normalise_level(CLIP)
    sound = trim_silence(levelled) if trim else levelled
    got = audio_tokenizer.encode_reference(CLIP, trim=trim)
    linguistic = audio_tokenizer.linguistic.encode(sound).tolist()
    semantic = audio_tokenizer.semantic.encode(sound).tolist()
    assert got == interleave(linguistic, semantic)
    assert len(got) == min(len(linguistic) // 2, len(semantic) // 3)


@given(cuts=st.lists(st.integers(0, len(CLIP)), max_size=8))
@settings(deadline=None, max_examples=8)
def test_groups_do_not_care_how_the_sound_is_cut(
    audio_tokenizer: DualCodebookTokenizer, cuts: list[int]
) -> None:
    laws.chunking_is_invisible(audio_tokenizer.open, CLIP, cuts)


@pytest.mark.parametrize("cut_at", [0, 5000, 17_000])
def test_a_copy_of_a_stream_goes_on_alone(
    audio_tokenizer: DualCodebookTokenizer, cut_at: int
) -> None:
    laws.a_copy_goes_on_alone(audio_tokenizer.open, CLIP, cut_at)


def test_group_streams_are_isolated(audio_tokenizer: DualCodebookTokenizer) -> None:
    laws.streams_are_isolated(audio_tokenizer.open, CLIP, CLIP[::-1].copy())


@pytest.mark.parametrize("samples", [0, 1, 100, 1919, 1920, 1921, 3840, 3841, 7681, 26145])
def test_every_sample_is_part_of_a_group(
    audio_tokenizer: DualCodebookTokenizer, samples: int
) -> None:
    laws.flush_is_final_and_total(audio_tokenizer.open, CLIP[:samples], -(-samples // 1920))


def test_encode_is_the_stream(audio_tokenizer: DualCodebookTokenizer) -> None:
    assert audio_tokenizer.encode(CLIP) == laws.run(audio_tokenizer.open(), [CLIP]).tolist()


@pytest.mark.parametrize("samples", [0, 1, 3841, 26145])
def test_a_clip_seen_whole_makes_the_streams_groups_but_for_semantic_context(
    audio_tokenizer: DualCodebookTokenizer, samples: int
) -> None:
    whole, stream = (
        f(CLIP[:samples]) for f in (audio_tokenizer.encode_whole, audio_tokenizer.encode)
    )
    assert [g.linguistic for g in whole] == [g.linguistic for g in stream]
    same = [
        a == b
        for x, y in zip(whole, stream, strict=True)
        for a, b in zip(x.semantic, y.semantic, strict=True)
    ]
    assert sum(same) >= 0.9 * len(same)


def test_groups_come_before_the_sound_ends(audio_tokenizer: DualCodebookTokenizer) -> None:
    stage = audio_tokenizer.open()
    counts = [len(list(stage.push(frame))) for frame in np.split(CLIP[:23040], 12)]
    # Two each 240 ms, once the first 480 ms are there.
    assert counts == [0, 0, 0, 2] + [0, 2] * 4


def test_what_is_no_sound_is_refused(audio_tokenizer: DualCodebookTokenizer) -> None:
    bad = np.array([0.0, np.inf], dtype=np.float32)
    with pytest.raises(AudioError):
        audio_tokenizer.encode(bad)
    with pytest.raises(AudioError):
        audio_tokenizer.encode_reference(bad, trim=False)
