"""Speech to song and to rap: which frames are vowels, how long each is held, on which note.

Pure NumPy. A note begins with its vowel and lasts until the next one; consonants keep their time,
vowels take the rest. Melodies are old and free: the tune of "Ah! vous dirai-je, maman" (1761),
Beethoven's "Ode to Joy" (1824), "Frère Jacques" and "Au clair de la lune" (both 18th century).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from vocoder.grid import HOP_SAMPLES, SAMPLE_RATE_HZ

FRAMES_PER_S: Final = SAMPLE_RATE_HZ / HOP_SAMPLES
VOICED_HZ: Final = 40.0
QUIET_MEL: Final = -9.0
"""Mean log-mel of a frame below which nobody speaks."""

Melody = tuple[tuple[int, float], ...]
"""Semitones above the key and beats of each note."""

MELODIES: Final[tuple[Melody, ...]] = (
    tuple(zip((0, 0, 7, 7, 9, 9, 7, 5, 5, 4, 4, 2, 2, 0), (1, 1, 1, 1, 1, 1, 2) * 2, strict=True)),
    tuple(
        zip(
            (4, 4, 5, 7, 7, 5, 4, 2, 0, 0, 2, 4, 4, 2, 2),
            (1.0,) * 12 + (1.5, 0.5, 2.0),
            strict=True,
        )
    ),
    tuple(
        zip(
            (0, 2, 4, 0, 0, 2, 4, 0, 4, 5, 7, 4, 5, 7),
            (1, 1, 1, 1) * 2 + (1, 1, 2) * 2,
            strict=True,
        )
    ),
    tuple(zip((0, 0, 0, 2, 4, 2, 0, 4, 2, 2, 0), (1, 1, 1, 1, 2, 2, 1, 1, 1, 1, 2), strict=True)),
)
BEAT_S: Final = 0.42
GRID_S: Final = 0.3
"""Eighths of a rap at 100 beats a minute."""

_VOWEL_BANDS: Final = slice(8, 52)  # 0.3 to 3.5 kHz
_NEAR: Final = 8  # frames: two vowels are at least so far apart
_DIP: Final = 0.5  # of log-mel between two vowels
_BELOW_PEAK: Final = 1.2  # of log-mel: what still is the vowel
_ABOVE_FLOOR: Final = 3.0
_SHORTEST, _LONGEST = 0.4, 6.0  # of a frame of a vowel
_ABOVE_SPEECH: Final = 3.0  # semitones: songs are higher
_GLIDE: Final = 5  # frames
_VIBRATO_HZ, _VIBRATO_CENTS, _VIBRATO_AFTER_S = 5.5, 30.0, 0.25


@dataclass(frozen=True, slots=True)
class Vowel:
    """Frames [begin, end) of a syllable's vowel."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Note:
    """A note as it was asked for: seconds of the sound that comes out, and its pitch."""

    begin_s: float
    end_s: float
    hz: float


@dataclass(frozen=True, slots=True)
class SongPlan:
    """How a phrase is sung.

    Attributes:
        lengths: of every frame, in frames of output, (T,).
        contour: pitch of every frame of output in Hz, (ceil(sum of lengths),).
        notes: one a vowel.
    """

    lengths: NDArray[np.float64]
    contour: NDArray[np.float64]
    notes: tuple[Note, ...]


def vowels(mel: NDArray[np.float32], f0: NDArray[np.float32]) -> list[Vowel]:
    """Return the vowels of a phrase, one a syllable, as its energy shows them.

    Args:
        mel: log-mel, (T, 80).
        f0: Hz, (T,); below `VOICED_HZ` nothing is voiced.
    """
    voiced = f0 > VOICED_HZ
    if not voiced.any():
        return []
    energy = np.convolve(mel[:, _VOWEL_BANDS].mean(axis=1), np.full(5, 0.2), "same")
    floor = float(energy[voiced].max()) - _ABOVE_FLOOR
    inner = energy[1:-1]
    rises = (inner >= energy[:-2]) & (inner > energy[2:]) & voiced[1:-1] & (inner > floor)
    peaks: list[int] = []
    for peak in (np.flatnonzero(rises) + 1).tolist():
        if peaks:
            last = peaks[-1]
            dip = min(energy[last], energy[peak]) - energy[last : peak + 1].min()
            if peak - last < _NEAR or dip < _DIP:
                peaks[-1] = peak if energy[peak] > energy[last] else last
                continue
        peaks.append(peak)
    dips = [a + int(energy[a:b].argmin()) for a, b in pairwise(peaks)]
    return [
        _vowel(peak, energy, voiced, bounds)
        for peak, bounds in zip(peaks, pairwise([0, *dips, len(mel)]), strict=True)
    ]


def _vowel(
    peak: int, energy: NDArray[np.float64], voiced: NDArray[np.bool_], bounds: tuple[int, int]
) -> Vowel:
    inside = voiced & (energy > energy[peak] - _BELOW_PEAK)
    begin, end = peak, peak + 1
    while begin > bounds[0] and inside[begin - 1]:
        begin -= 1
    while end < bounds[1] and inside[end]:
        end += 1
    return Vowel(begin, end)


def plan(
    kind: Literal["sing", "rap"],
    mel: NDArray[np.float32],
    f0: NDArray[np.float32],
    *,
    base_hz: float,
    melody: Melody = MELODIES[0],
    first_note: int = 0,
    first_frame: int = 0,
) -> SongPlan:
    """Return how a phrase is sung or rapped; one without a vowel stays as it is.

    Args:
        mel: log-mel, (T, 80), T at least 1. f0: its pitch in Hz, (T,).
        base_hz: usual pitch of the voice.
        melody: of a song; begins again at its end.
        first_note: how many notes came before.
        first_frame: how many frames of output came before: a rap keeps its beat.
    """
    found = vowels(mel, f0)
    lengths = np.ones(len(mel))
    if not found:
        return SongPlan(lengths, np.full(len(mel), base_hz), ())
    pitches, frames = _wanted(kind, len(found), base_hz, melody, first_note)
    if kind == "rap":
        _wait_for_beat(lengths, mel, found[0].begin, first_frame, frames[0])
    for at, vowel in enumerate(found):
        until = found[at + 1].begin if at + 1 < len(found) else vowel.end
        others = (until - vowel.begin) - (vowel.end - vowel.begin)
        size = vowel.end - vowel.begin
        wanted = frames[at]
        while wanted - others < _SHORTEST * size:
            wanted += frames[at]
        if kind == "rap":
            slots = max(1, round((size + others) / frames[at]))
            wanted = max(wanted, slots * frames[at])
        lengths[vowel.begin : vowel.end] = min(_LONGEST, (wanted - others) / size)
    return _planned(kind, lengths, found, pitches, first_frame)


def _wanted(
    kind: str, count: int, base_hz: float, melody: Melody, first_note: int
) -> tuple[list[float], list[float]]:
    """Return the pitch and the frames of each note."""
    if kind == "rap":
        return [base_hz] * count, [GRID_S * FRAMES_PER_S] * count
    middle = float(np.mean([note for note, _ in melody]))
    notes = [melody[(first_note + at) % len(melody)] for at in range(count)]
    pitches = [base_hz * 2 ** ((note - middle + _ABOVE_SPEECH) / 12) for note, _ in notes]
    return pitches, [beats * BEAT_S * FRAMES_PER_S for _, beats in notes]


def _wait_for_beat(
    lengths: NDArray[np.float64],
    mel: NDArray[np.float32],
    begin: int,
    first_frame: int,
    grid: float,
) -> None:
    """Lengthen the quiet in front of the first vowel, which then begins on a beat."""
    late = -(first_frame + begin) % grid
    quiet = np.flatnonzero(mel[:begin].mean(axis=1) < QUIET_MEL)
    if len(quiet):
        lengths[quiet] += late / len(quiet)
    elif begin:
        lengths[0] += late


def _planned(
    kind: str,
    lengths: NDArray[np.float64],
    found: Sequence[Vowel],
    pitches: Sequence[float],
    first_frame: int,
) -> SongPlan:
    ends = lengths.cumsum()
    starts = ends - lengths
    count = max(1, math.ceil(float(ends[-1]) - 1e-9))
    contour = np.full(count, pitches[0])
    notes = []
    for vowel, hz in zip(found, pitches, strict=True):
        begin, end = float(starts[vowel.begin]), float(ends[vowel.end - 1])
        contour[max(0, round(begin) - _GLIDE // 2) :] = hz
        notes.append(
            Note((first_frame + begin) / FRAMES_PER_S, (first_frame + end) / FRAMES_PER_S, hz)
        )
    if kind == "sing":
        contour = _sung(contour, [float(starts[vowel.begin]) for vowel in found])
    return SongPlan(lengths, contour, tuple(notes))


def _sung(contour: NDArray[np.float64], begins: Sequence[float]) -> NDArray[np.float64]:
    """Return a contour that glides from note to note, with vibrato on what is held."""
    logs = np.pad(np.log(contour), _GLIDE // 2, mode="edge")
    logs = np.convolve(logs, np.full(_GLIDE, 1 / _GLIDE), "valid")
    frames = np.arange(len(contour))
    since = np.zeros(len(contour))
    for begin in begins:
        since = np.where(frames >= begin, (frames - begin) / FRAMES_PER_S, since)
    depth = np.clip((since - _VIBRATO_AFTER_S) / 0.15, 0, 1) * _VIBRATO_CENTS / 1200 * np.log(2)
    wave = np.sin(2 * np.pi * _VIBRATO_HZ * (since - _VIBRATO_AFTER_S))
    sung: NDArray[np.float64] = np.exp(logs + depth * wave)
    return sung
