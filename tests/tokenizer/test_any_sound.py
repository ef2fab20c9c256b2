"""Laws and odd sounds on real weights: the recorded reference's, and nano's as they ship."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from step_audio.core.errors import AudioError
from step_audio.core.resampling import StreamResampler, resample
from step_audio.core.types import Pcm, TokenGroup
from tests import laws
from tests.tokenizer import golden
from tokenizer.loading import load_tokenizer
from tokenizer.stream import GROUP_SAMPLES, DualCodebookTokenizer

NANO = Path(__file__).parents[2] / "step_audio" / "weights" / "nano" / "tokenizer"
CLIP = golden.sound("en_5")
FEW = settings(
    deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module", params=["reference", "nano"])
def ear(request: pytest.FixtureRequest, published: Path) -> DualCodebookTokenizer:
    if request.param == "reference":
        return load_tokenizer(published)
    if not (NANO / "linguistic.safetensors").is_file():
        pytest.skip("step_audio/weights/nano is not there; fetch it or train it (make nano-pack)")
    return load_tokenizer(NANO)


def groups_for(samples: int) -> int:
    return -(-samples // GROUP_SAMPLES)


def check_groups(groups: list[TokenGroup], samples: int) -> None:
    assert len(groups) == groups_for(samples)
    for group in groups:
        assert all(0 <= code < 1024 for code in group.linguistic)
        assert all(0 <= code < 4096 for code in group.semantic)


@FEW
@given(cuts=st.lists(st.integers(0, len(CLIP)), max_size=8))
def test_cuts_are_invisible(ear: DualCodebookTokenizer, cuts: list[int]) -> None:
    laws.chunking_is_invisible(ear.open, CLIP, cuts)


@FEW
@given(start=st.integers(0, 15000), length=st.integers(1, 9000))
def test_streams_are_isolated(ear: DualCodebookTokenizer, start: int, length: int) -> None:
    laws.streams_are_isolated(ear.open, CLIP, CLIP[start : start + length])


@FEW
@given(samples=st.integers(0, len(CLIP)))
def test_flush_is_final_and_total(ear: DualCodebookTokenizer, samples: int) -> None:
    laws.flush_is_final_and_total(ear.open, CLIP[:samples], groups_for(samples))


@pytest.mark.parametrize("rate_hz", [8000, 11025, 22050, 44100, 48000, 96000])
def test_any_input_rate_gives_the_groups_of_the_same_sound(
    ear: DualCodebookTokenizer, rate_hz: int
) -> None:
    pcm = resample(CLIP, 16000, rate_hz)
    resampler, stage = StreamResampler(rate_hz, ear.sample_rate_hz), ear.open()
    groups: list[TokenGroup] = []
    samples = 0
    for piece in [*np.array_split(pcm, 9), None]:
        chunks = resampler.flush() if piece is None else resampler.push(piece)
        for chunk in chunks:
            samples += len(chunk)
            groups += stage.push(chunk)
    groups += stage.flush()
    assert abs(samples - len(CLIP)) <= 2
    check_groups(groups, samples)


def test_level_does_not_matter_to_a_whole_clip(ear: DualCodebookTokenizer) -> None:
    whole = ear.encode_reference(CLIP, trim=True)
    assert ear.encode_reference(0.25 * CLIP, trim=True) == whole  # a power of two: no rounding
    assert ear.encode_reference(4 * CLIP, trim=True) == whole  # beyond full scale


SOUNDS: dict[str, NDArray[np.float32]] = {
    "clipped": np.clip(20 * CLIP, -1, 1),
    "beyond full scale": 20 * CLIP,
    "offset": CLIP + np.float32(0.4),
    "all offset": np.full(20000, 1.0, dtype=np.float32),
    "silence": np.zeros(20000, dtype=np.float32),
    "denormal": np.full(20000, 1e-42, dtype=np.float32),
    "one click": np.eye(1, 20000, 777, dtype=np.float32)[0],
    "full-scale noise": np.sign(np.random.default_rng(0).standard_normal(20000)).astype(np.float32),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_odd_sounds_have_codes_that_do_not_change(ear: DualCodebookTokenizer, name: str) -> None:
    pcm = SOUNDS[name]
    groups = ear.encode(pcm)
    check_groups(groups, len(pcm))
    assert ear.encode(pcm) == groups


def test_an_offset_hardly_changes_linguistic_codes(ear: DualCodebookTokenizer) -> None:
    # Each frame's mean is removed; only its rounding stays, and the dynamic range of silence.
    plain = ear.linguistic.encode(CLIP)
    shifted = ear.linguistic.encode(CLIP + np.float32(0.05))
    assert np.mean(plain == shifted) > 0.9


@pytest.mark.parametrize("samples", [0, 1, 159, 399, 400, 559, 1000])
def test_a_sound_of_half_a_group_is_one_group_in_a_stream_and_none_in_the_reference(
    ear: DualCodebookTokenizer, samples: int
) -> None:
    check_groups(ear.encode(CLIP[:samples]), samples)
    assert ear.encode_reference(CLIP[:samples], trim=False) == []
    # Trimming keeps 270 ms around whatever sounds, were it nothing.
    assert len(ear.encode_reference(CLIP[:samples], trim=True)) in {2, 3}


@pytest.mark.parametrize(
    "bad",
    [
        np.array([0.0, np.nan], np.float32),
        np.array([np.inf], np.float32),
        np.array([-np.inf], np.float32),
        np.zeros((2, 3), np.float32),
        np.zeros(4, np.int16),
    ],
)
def test_a_refused_chunk_leaves_the_stream_as_it_was(ear: DualCodebookTokenizer, bad: Pcm) -> None:
    stage = ear.open()
    groups = list(stage.push(CLIP[:9000]))
    with pytest.raises(AudioError):
        stage.push(bad)
    groups += [*stage.push(CLIP[9000:]), *stage.flush()]
    assert groups == ear.encode(CLIP)


def test_nothing_pushed_is_nothing_made(ear: DualCodebookTokenizer) -> None:
    stage = ear.open()
    assert list(stage.push(CLIP[:0])) == []
    assert list(stage.flush()) == []
