"""Each manner moves what it is for, whatever the cuts.

The pitch is measured by autocorrelation here and by pyworld in `tests.bench.manners`.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

import step_audio
from step_audio.core.errors import InputError
from vocoder.grid import SAMPLE_RATE_HZ
from vocoder.hift import HiftGenerator
from vocoder.loading import load_hift
from vocoder.manner_stream import open_manner
from vocoder.manners import MANNERS, PLAIN, Manner, manner_of
from vocoder.song import FRAMES_PER_S, GRID_S, MELODIES, vowels
from vocoder.song_stream import SongStream
from vocoder.time_warp import TimeWarp

Wave = NDArray[np.float32]


@pytest.fixture(scope="module")
def nano() -> HiftGenerator:
    """The generator that ships: random weights follow no pitch."""
    folder = Path(step_audio.__file__).parent / "weights" / "nano" / "vocoder"
    return load_hift(folder / "hift.safetensors")


def spoken(hift: HiftGenerator, mel: Tensor, manner: Manner, cuts: list[int]) -> Wave:
    stream = open_manner(hift, 3, manner)
    places = [0, *sorted(min(cut, len(mel)) for cut in cuts), len(mel)]
    out = [pcm for begin, end in pairwise(places) for pcm in stream.push(mel[begin:end])]
    return np.concatenate([*out, *stream.flush()])


def pitch(pcm: Wave) -> NDArray[np.float64]:
    """Return the pitch in Hz of 46 ms windows that repeat themselves, 70 to 400 Hz."""
    found = []
    least, most = SAMPLE_RATE_HZ // 400, SAMPLE_RATE_HZ // 70
    for begin in range(0, len(pcm) - 1536, 512):
        window = pcm[begin : begin + 1536].astype(np.float64)
        if np.abs(window).max() < 0.05:
            continue
        alike = np.correlate(window, window[: 1536 - most], "valid")
        power = np.cumsum(np.pad(window**2, (1, 0)))
        power = power[1536 - most :] - power[: most + 1]
        alike /= np.sqrt(power * power[0]) + 1e-9
        best = least + int(alike[least:].argmax())
        if alike[best] > 0.7:
            found.append(SAMPLE_RATE_HZ / best)
    return np.array(found)


def level_db(pcm: Wave) -> float:
    return float(10 * np.log10(np.mean(np.square(pcm, dtype=np.float64))))


@cache
def _plain(hift: HiftGenerator, mel: Tensor) -> Wave:
    return spoken(hift, mel, PLAIN, [])


@pytest.mark.parametrize("mood", ["happy", "angry", "sad"])
def test_a_mood_moves_pitch_pace_and_level_and_the_strong_one_moves_them_further(
    nano: HiftGenerator, speech_mel: Tensor, mood: str
) -> None:
    up = -1 if mood == "sad" else 1
    sounds = [_plain(nano, speech_mel)]
    sounds += [spoken(nano, speech_mel, MANNERS[f"{mood}{n}"], []) for n in (1, 2)]
    means = [np.log2(pitch(sound)).mean() for sound in sounds]
    assert (np.diff(means) * up > 0.03).all(), means
    lengths = [len(sound) for sound in sounds]
    assert (np.diff(lengths) * up < 0).all(), lengths
    levels = [level_db(sound) for sound in sounds]
    assert (np.diff(levels) * up > 0).all(), levels


def test_a_whisper_has_no_pitch_and_is_not_silent(nano: HiftGenerator, speech_mel: Tensor) -> None:
    plain = _plain(nano, speech_mel)
    whisper = spoken(nano, speech_mel, MANNERS["whisper"], [])
    assert len(pitch(whisper)) < 0.2 * len(pitch(plain))
    assert level_db(whisper) > level_db(plain) - 25


@settings(max_examples=3, deadline=None)
@given(cuts=st.lists(st.integers(0, 400), max_size=6))
@pytest.mark.parametrize("name", ["happy2", "sad2", "whisper", "sing", "rap"])
def test_cuts_cannot_be_heard_in_a_manner(
    nano: HiftGenerator, speech_mel: Tensor, name: str, cuts: list[int]
) -> None:
    mel = speech_mel[:120]
    whole, pieces = (spoken(nano, mel, MANNERS[name], at) for at in ([], cuts))
    assert len(whole) == len(pieces)
    # Rounding of the pitch adds up in the phase, as in test_hift_stream.
    off = np.sqrt(np.mean((whole - pieces) ** 2) / np.mean(whole**2))
    assert off < 2e-2


def test_a_song_holds_the_notes_that_were_asked_for(
    nano: HiftGenerator, speech_mel: Tensor
) -> None:
    stream = SongStream(nano, 0, "sing")
    sound = np.concatenate([*stream.push(speech_mel), *stream.flush()])
    melody = [note for note, _ in MELODIES[0]]
    steps = np.diff([12 * np.log2(note.hz) for note in stream.notes])
    np.testing.assert_allclose(steps, np.diff(melody)[: len(steps)], atol=1e-6)
    off = []
    for note in stream.notes:
        begin, end = (int(at * SAMPLE_RATE_HZ) for at in (note.begin_s, note.end_s))
        if end - begin > 3072:
            off += (1200 * np.log2(pitch(sound[begin:end]) / note.hz)).tolist()
    assert len(stream.notes) >= 5
    assert np.median(np.abs(off)) < 50


def test_the_vowels_of_a_rap_begin_on_the_beat_and_its_pitch_is_flat(
    nano: HiftGenerator, speech_mel: Tensor
) -> None:
    stream = SongStream(nano, 0, "rap")
    sound = np.concatenate([*stream.push(speech_mel), *stream.flush()])
    beats = np.array([note.begin_s for note in stream.notes]) / GRID_S
    assert np.abs(beats - beats.round()).max() * GRID_S < 0.02
    assert np.log2(pitch(sound)).std() < 0.7 * np.log2(pitch(_plain(nano, speech_mel))).std()


def test_vowels_are_apart_and_in_order() -> None:
    rng = np.random.default_rng(0)
    mel = rng.normal(-6, 2, (300, 80)).astype(np.float32)
    found = vowels(mel, np.full(300, 120, np.float32))
    assert found
    assert all(a.end <= b.begin for a, b in pairwise(found))
    assert vowels(mel, np.zeros(300, np.float32)) == []


@given(
    lengths=st.lists(st.floats(0.3, 4.0), min_size=1, max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=5),
)
def test_stretched_frames_do_not_depend_on_the_cuts(lengths: list[float], cuts: list[int]) -> None:
    mel = torch.arange(len(lengths), dtype=torch.float32)[:, None].expand(-1, 2)
    each = torch.tensor(lengths, dtype=torch.float64)

    def warped(places: list[int]) -> Tensor:
        warp, out = TimeWarp(), []
        for begin, end in pairwise(places):
            out.append(warp.push(mel[begin:end], each[begin:end]))
        rest = warp.flush()
        assert rest is not None
        return torch.cat([*out, rest])

    whole = warped([0, len(lengths)])
    assert abs(len(whole) - sum(lengths)) <= 1
    assert (whole.diff(dim=0) >= -1e-5).all()
    pieces = warped([0, *sorted(min(cut, len(lengths)) for cut in cuts), len(lengths)])
    torch.testing.assert_close(pieces, whole, atol=1e-4, rtol=0)


def test_manners_hold_together_and_a_song_stands_alone() -> None:
    both = manner_of(["sad1", "whisper"])
    assert (both.breath, both.pace) == (1.0, MANNERS["sad1"].pace * MANNERS["whisper"].pace)
    assert manner_of(["happy1", "rap"]) == MANNERS["rap"]
    assert manner_of([]) == PLAIN
    with pytest.raises(InputError, match="no manner 'merry'"):
        manner_of(["merry"])


def test_a_beat_is_a_whole_number_of_eighths() -> None:
    assert pytest.approx(60 / 100 / 2) == GRID_S
    assert pytest.approx(86.13, abs=0.01) == FRAMES_PER_S
