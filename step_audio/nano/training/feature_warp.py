"""Voices that nobody synthesised: random speakers drawn on filter-bank frames, for training.

Formant positions, spectral tilt and colour, voice quality and tempo change at a hundredth of the
cost of changing the sound, so that every utterance can come from a new speaker each time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.float32]
"""Log filter-bank energies, (T, bands), 100 Hz."""


def other_speaker(frames: Frames, rng: np.random.Generator, strength: float = 1.0) -> Frames:
    """Return the frames as if somebody else had said the same, somewhat faster or slower.

    Args:
        frames: log filter-bank energies, (T, bands).
        rng: draws the speaker.
        strength: 0 changes nothing, 1 is the training default.

    Returns:
        (T / tempo, bands), tempo within a factor of 1.25.
    """
    if len(frames) < 4 or strength <= 0.0:
        return frames
    warped = frames
    if rng.random() < 0.8:
        warped = move_formants(warped, rng, 0.16 * strength)
    if rng.random() < 0.7:
        warped = colour(warped, rng, 2.5 * strength)
    if rng.random() < 0.4:
        warped = low_cut(
            warped, rng.uniform(100.0, 100.0 + 400.0 * strength), rng.uniform(0.5, 2.0)
        )
    if rng.random() < 0.5:
        warped = dynamics(warped, float(np.exp(rng.uniform(-0.3, 0.5) * strength)))
    if rng.random() < 0.5:
        warped = contrast(warped, rng.uniform(1.0 - 0.3 * strength, 1.0 + 0.25 * strength))
    if rng.random() < 0.7:
        warped = uneven_tempo(warped, rng, 0.22 * strength)
    return warped


def move_formants(frames: Frames, rng: np.random.Generator, depth: float) -> Frames:
    """Return frames whose bands are read from elsewhere: one stretch and a smooth unevenness.

    A vocal tract differs from another in length and, less, in the proportions of its parts.
    Source of the stretch: vocal tract length perturbation, Jaitly and Hinton 2013.
    """
    bands = frames.shape[1]
    where = np.linspace(0.0, 1.0, bands)
    stretch = 1.0 + rng.uniform(-depth, depth)
    knots = rng.normal(0.0, 0.25 * depth, 5)
    knots[0] = 0.0
    uneven = np.interp(where, np.linspace(0.0, 1.0, 5), knots)
    source = np.clip(where * stretch + uneven * where, 0.0, 1.0) * (bands - 1)
    low = np.minimum(source.astype(np.int64), bands - 2)
    share = (source - low).astype(np.float32)
    moved: Frames = frames[:, low] * (1.0 - share) + frames[:, low + 1] * share
    return moved


def colour(frames: Frames, rng: np.random.Generator, depth: float) -> Frames:
    """Return frames plus a fixed smooth curve over the bands: tilt, room, microphone, larynx.

    Args:
        frames: (T, bands).
        rng: draws 8 knots.
        depth: their deviation, natural logarithm of energy.
    """
    bands = frames.shape[1]
    knots = rng.normal(0.0, depth / 2.0, 8)
    curve = np.interp(np.linspace(0.0, 7.0, bands), np.arange(8), knots)
    return frames + curve.astype(np.float32)


def low_cut(frames: Frames, corner_hz: float, order: float) -> Frames:
    """Return frames as a microphone hears them that cuts the lows, which carry nasals and voicing.

    Args:
        frames: (T, bands), bands evenly on the mel scale from 20 Hz to 8 kHz.
        corner_hz: where half of the power is left.
        order: 6 dB an octave each.
    """
    lowest, highest = (1127.0 * np.log(1.0 + hertz / 700.0) for hertz in (20.0, 8000.0))
    mels = np.linspace(lowest, highest, frames.shape[1] + 2)[1:-1]
    hertz = 700.0 * (np.exp(mels / 1127.0) - 1.0)
    loss = np.log1p((corner_hz / hertz) ** (2.0 * order))
    return frames - loss.astype(np.float32)


def dynamics(frames: Frames, factor: float) -> Frames:
    """Return frames whose quiet sounds lie further below the loud ones (factor over 1) or less.

    How loud nasals and liquids are beside vowels differs from one speaker to another by 10 dB.
    """
    loudness = frames.max(axis=1)
    below = np.maximum(loudness - np.percentile(loudness, 95), -8.0)
    smooth = np.convolve(np.pad(below, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    return frames + ((factor - 1.0) * smooth).astype(np.float32)[:, None]


def contrast(frames: Frames, factor: float) -> Frames:
    """Return frames with the peaks of each spectrum sharper (factor over 1) or flatter."""
    mean = frames.mean(axis=1, keepdims=True)
    changed: Frames = mean + (frames - mean) * np.float32(factor)
    return changed


def uneven_tempo(frames: Frames, rng: np.random.Generator, depth: float) -> Frames:
    """Return the frames at another tempo that also wavers within the utterance."""
    base = np.exp(rng.uniform(-depth, depth))
    pieces = max(2, len(frames) // 25)
    speed = base * np.exp(rng.normal(0.0, depth / 2.0, pieces))
    per_frame = np.interp(np.linspace(0, pieces - 1, len(frames)), np.arange(pieces), speed)
    # Where each old frame lands; the new frames are read between them.
    landed = np.cumsum(1.0 / per_frame)
    landed -= landed[0]
    count = max(2, int(landed[-1]) + 1)
    source = np.interp(np.arange(count), landed, np.arange(len(frames)))
    low = np.minimum(source.astype(np.int64), len(frames) - 2)
    share = (source - low).astype(np.float32)[:, None]
    mixed: Frames = frames[low] * (1.0 - share) + frames[low + 1] * share
    return mixed


def mask(frames: Frames, rng: np.random.Generator) -> Frames:
    """Return frames with a span of bands and two of time at their mean (SpecAugment)."""
    masked = frames.copy()
    mean = frames.mean(axis=0)
    width = int(rng.integers(0, 10))
    start = int(rng.integers(0, frames.shape[1] - width))
    masked[:, start : start + width] = mean[start : start + width]
    for _ in range(2):
        width = int(rng.integers(0, min(8, len(frames) // 6) + 1))
        start = int(rng.integers(0, len(frames) - width))
        masked[start : start + width] = mean
    return masked
