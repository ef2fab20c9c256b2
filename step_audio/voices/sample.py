"""A recording of one person made fit to be a voice's example, or refused with the reason.

Mono, without the silence around it, at a fixed level, cut to whole groups of 120 ms, so that the
tokens and the mel that are made of it cover the same sound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from step_audio.core.audio import check_sound
from step_audio.core.errors import AudioError
from step_audio.core.types import GROUP_MS, Pcm, Recording

SHORTEST_S: Final = 3.0
LONGEST_S: Final = 30.0

_PEAK: Final = 0.7
_TOO_QUIET: Final = 0.003
_FRAME_MS: Final = 20
_SILENCE_DB: Final = 40.0  # below the loud frames
_MARGIN_MS: Final = 100  # kept around what is heard: soft beginnings and endings
_PAUSES: Final = 0.6  # share of silence inside that is too much to learn from
_CLIPPED: Final = 0.001  # share of samples in flat tops that can be heard


@dataclass(frozen=True, slots=True)
class VoiceSample:
    """What a voice is made of.

    Attributes:
        pcm: trimmed and levelled, (T,) at `rate_hz`, T whole groups.
        whole: the recording in mono, as long and as loud as it came.
        notes: what was done.
    """

    pcm: Pcm
    whole: Pcm
    rate_hz: int
    notes: tuple[str, ...]


def prepare_sample(recording: Recording) -> VoiceSample:
    """Return the part of a recording that a voice is made of.

    Raises:
        AudioError: empty, not finite, silent, too quiet, clipped, mostly pauses, or speech shorter
            than 3 s or longer than 30 s.
    """
    notes: list[str] = []
    whole = pcm = _mono(recording.samples, notes)
    check_sound(pcm, "the recording")
    if float(np.abs(pcm).max()) < _TOO_QUIET:
        raise AudioError("the recording is too quiet to be used; record closer to the microphone")
    clipped = clipped_share(pcm)
    if clipped > _CLIPPED:
        raise AudioError(
            f"{clipped:.1%} of the recording is clipped; record again at a lower level"
        )
    pcm = _trimmed(pcm, recording.rate_hz, notes)
    peak = float(np.abs(pcm).max())
    notes.append(f"level changed by {20 * np.log10(_PEAK / peak):+.1f} dB")
    levelled = (pcm * (_PEAK / peak)).astype(np.float32)
    return VoiceSample(levelled, whole.astype(np.float32), recording.rate_hz, tuple(notes))


def clipped_share(pcm: Pcm) -> float:
    """Return the share of samples that lie in runs of three or more at the very peak."""
    peak = np.abs(pcm).max(initial=0.0)
    flat = np.abs(pcm) >= 0.999 * peak
    runs = flat[:-2] & flat[1:-1] & flat[2:]
    return float(runs.mean()) if len(runs) else 0.0


def _mono(samples: Pcm, notes: list[str]) -> Pcm:
    if samples.ndim != 2 or not samples.shape[1]:
        raise AudioError(f"a recording is (T, C), not {samples.shape}")
    channels = samples.shape[1]
    if channels == 1 or not len(samples):
        mono: Pcm = samples[:, 0]
        return mono
    mean: Pcm = samples.mean(axis=1, dtype=np.float32)
    power = (samples.astype(np.float64) ** 2).mean(axis=0)
    loudest = int(power.argmax())
    if float((mean.astype(np.float64) ** 2).mean()) < power[loudest] / 4:
        # Channels that cancel out, or one that alone holds the speaker.
        notes.append(f"used channel {loudest + 1} of {channels}, the loudest")
        picked: Pcm = samples[:, loudest]
        return picked
    notes.append(f"averaged {channels} channels")
    return mean


def _trimmed(pcm: Pcm, rate_hz: int, notes: list[str]) -> Pcm:
    """Cut the silence at both ends, and the rest to whole groups."""
    frame = rate_hz * _FRAME_MS // 1000
    levels = pcm[: len(pcm) // frame * frame].reshape(-1, frame).astype(np.float64)
    power = (levels**2).mean(axis=1)
    if not len(power):
        raise AudioError(f"the recording is shorter than {SHORTEST_S:g} s; record more")
    loud = np.flatnonzero(power > np.percentile(power, 95) * 10 ** (-_SILENCE_DB / 10))
    margin = rate_hz * _MARGIN_MS // 1000
    begin = max(0, int(loud[0]) * frame - margin)
    end = min(len(pcm), (int(loud[-1]) + 1) * frame + margin)
    seconds = (end - begin) / rate_hz
    if seconds < SHORTEST_S:
        raise AudioError(f"{seconds:.1f} s of speech; at least {SHORTEST_S:g} s are needed")
    if seconds > LONGEST_S:
        raise AudioError(f"{seconds:.1f} s of speech; cut it and its text to {LONGEST_S:g} s")
    pauses = 1 - len(loud) / (int(loud[-1]) + 1 - int(loud[0]))
    if pauses > _PAUSES:
        raise AudioError(f"{pauses:.0%} of the recording are pauses; give continuous speech")
    notes.append(
        f"cut {begin / rate_hz:.2f} s of silence before and "
        f"{(len(pcm) - end) / rate_hz:.2f} s after the speech"
    )
    groups = (end - begin) * 1000 // (rate_hz * GROUP_MS)
    return pcm[begin : begin + groups * rate_hz * GROUP_MS // 1000]
