"""Cheap damage to clean speech at 16 kHz, so that nano hears more than clean machine voices.

Every function is seeded by the generator it is given. All but `warp` and `pad_noise` keep length
and alignment, so frame targets of the clean sound stay true for the augmented one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import soxr

from step_audio.core.types import Pcm

RATE_HZ = 16_000
_FLOOR = 1e-8


def augment(pcm: Pcm, rng: np.random.Generator, strength: float, babble: Sequence[Pcm] = ()) -> Pcm:
    """Return the sound after a random chain: room, equaliser, noise, codec, gain.

    Args:
        pcm: speech, (T,), 16 kHz.
        rng: draws which links act and how hard.
        strength: 0 changes nothing, 1 is the training default; scales odds and depth.
        babble: other utterances; when given, part of the noise is their mix.

    Returns:
        Samples of the same length, aligned with the input, within [-1, 1].
    """
    strength = min(max(strength, 0.0), 1.0)
    if strength == 0.0 or len(pcm) == 0:
        return pcm
    sound = pcm
    if rng.random() < 0.4 * strength:
        sound = room(sound, rng, decay_s=rng.uniform(0.05, 0.1 + 0.4 * strength))
    if rng.random() < 0.5 * strength:
        sound = equalise(sound, rng, depth_db=10.0 * strength)
    if rng.random() < 0.7 * strength:
        snr_db = rng.uniform(30.0 - 22.0 * strength, 35.0)
        if babble and rng.random() < 0.3:
            sound = mix(sound, babble_noise(babble, len(sound), rng), max(snr_db, 10.0))
        else:
            sound = mix(sound, coloured_noise(len(sound), rng), snr_db)
    if rng.random() < 0.25 * strength:
        sound = telephone(sound) if rng.random() < 0.6 else mu_law(sound)
    return gain(sound, rng, low_db=-14.0 * strength)


def warp(pcm: Pcm, rng: np.random.Generator, low: float = 0.85, high: float = 1.25) -> Pcm:
    """Return the sound played `f` times as fast, f drawn from [low, high]: tempo, pitch and
    formants move together, as if by a smaller or larger speaker. Length is about T / f."""
    factor = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    return cast(Pcm, soxr.resample(pcm, RATE_HZ * factor, RATE_HZ, quality="LQ"))


def gain(pcm: Pcm, rng: np.random.Generator, low_db: float = -14.0) -> Pcm:
    """Return the sound with its peak set to `low_db`..0 dB of full scale."""
    peak = max(float(np.abs(pcm).max()), 1e-4)
    level = 10.0 ** (rng.uniform(low_db, -0.1) / 20.0)
    return pcm * np.float32(level / peak)


def coloured_noise(samples: int, rng: np.random.Generator) -> Pcm:
    """Return noise of a random slope between white and brown, (samples,)."""
    # A looped second is enough to sound random and keeps the FFT small.
    spectrum = np.fft.rfft(rng.standard_normal(RATE_HZ, dtype=np.float32))
    slope = rng.uniform(0.0, 1.0)
    spectrum *= np.arange(1, len(spectrum) + 1, dtype=np.float32) ** -slope
    second = np.fft.irfft(spectrum).astype(np.float32)
    start = int(rng.integers(RATE_HZ))
    return np.resize(np.roll(second, -start), samples)


def babble_noise(others: Sequence[Pcm], samples: int, rng: np.random.Generator) -> Pcm:
    """Return 2 to 5 of the other utterances, looped from random points and added, (samples,)."""
    total = np.zeros(samples, dtype=np.float32)
    for _ in range(int(rng.integers(2, 6))):
        other = others[int(rng.integers(len(others)))]
        if len(other):
            total += np.resize(np.roll(other, -int(rng.integers(len(other)))), samples)
    return total


def mix(pcm: Pcm, noise: Pcm, snr_db: float) -> Pcm:
    """Return speech plus noise at that ratio of mean powers; both (T,)."""
    speech_power = float(pcm @ pcm) + _FLOOR
    noise_power = float(noise @ noise) + _FLOOR
    scale = np.sqrt(speech_power / noise_power) * 10.0 ** (-snr_db / 20.0)
    return pcm + noise * np.float32(scale)


def room(pcm: Pcm, rng: np.random.Generator, decay_s: float = 0.2) -> Pcm:
    """Return the sound in a synthetic room: direct path at 0 ms, then exponentially falling noise
    that loses 60 dB in `decay_s`. The tail beyond T is cut."""
    taps = max(int(decay_s * RATE_HZ), 64)
    envelope = np.exp(np.linspace(0.0, -6.9, taps, dtype=np.float32))
    impulse = rng.standard_normal(taps, dtype=np.float32) * envelope
    impulse[: int(rng.integers(16, 64))] = 0.0  # the first wall is 1 to 4 ms away
    reverberant = np.float32(rng.uniform(0.2, 0.8)) / (np.linalg.norm(impulse) + _FLOOR)
    impulse *= np.float32(reverberant)
    impulse[0] = 1.0
    return _convolve(pcm, impulse)


def equalise(pcm: Pcm, rng: np.random.Generator, depth_db: float = 10.0) -> Pcm:
    """Return the sound through a smooth random frequency response of 6 knots within +-depth."""
    size = _fast_length(len(pcm))
    spectrum = np.fft.rfft(pcm, size)
    knots = rng.uniform(-depth_db, depth_db / 2, 6)
    # Knots are spaced evenly in the square root of frequency, denser where speech lives.
    where = np.sqrt(np.linspace(0.0, 1.0, len(spectrum))) * 5.0
    spectrum *= 10.0 ** (np.interp(where, np.arange(6), knots) / 20.0)
    return np.fft.irfft(spectrum, size)[: len(pcm)].astype(np.float32)


def telephone(pcm: Pcm) -> Pcm:
    """Return the sound band-limited to 300-3400 Hz and through the 8-bit mu-law codec."""
    size = _fast_length(len(pcm))
    spectrum = np.fft.rfft(pcm, size)
    hertz = np.linspace(0.0, RATE_HZ / 2, len(spectrum))
    spectrum *= np.clip((hertz - 150) / 150, 0, 1) * np.clip((3700 - hertz) / 300, 0, 1)
    return mu_law(np.fft.irfft(spectrum, size)[: len(pcm)].astype(np.float32))


def mu_law(pcm: Pcm) -> Pcm:
    """Return the sound after 8-bit mu-law companding and back (ITU-T G.711 curve)."""
    peak = max(float(np.abs(pcm).max()), 1e-4)
    scaled = pcm / np.float32(peak)
    code = np.round(np.sign(scaled) * np.log1p(255 * np.abs(scaled)) / np.log(256.0) * 127) / 127
    decoded = np.sign(code) * (np.power(256.0, np.abs(code)) - 1) / 255
    scaled_back: Pcm = (decoded * peak).astype(np.float32)
    return scaled_back


def pad_noise(pcm: Pcm, before_s: float, after_s: float, rng: np.random.Generator) -> Pcm:
    """Return the sound between pauses that carry a faint noise floor (about -66 dB)."""
    before, after = int(before_s * RATE_HZ), int(after_s * RATE_HZ)
    padded = np.pad(pcm, (before, after))
    floor = np.float32(10.0 ** (rng.uniform(-76.0, -60.0) / 20.0))
    return padded + rng.standard_normal(len(padded), dtype=np.float32) * floor


def _convolve(pcm: Pcm, impulse: Pcm) -> Pcm:
    size = _fast_length(len(pcm) + len(impulse))
    product = np.fft.rfft(pcm, size) * np.fft.rfft(impulse, size)
    return np.fft.irfft(product, size)[: len(pcm)].astype(np.float32)


def _fast_length(samples: int) -> int:
    """Return the next length of the form 2^k, 3*2^k or 5*2^k, which numpy transforms quickly."""
    power = 1 << max(samples - 1, 1).bit_length()
    return next(n for n in (power // 8 * 5, power // 4 * 3, power) if n >= samples)
