"""Sound files of any kind to mono samples: what can be heard of them, up to a limit.

Only the demuxer that the bytes call for is opened, so that playlists and the like, with which
ffmpeg would fetch other files, are never read. Here a file is decoded in this process: for files of
our own and for commands. Servers decode through `decoder_pool`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import BinaryIO, Final

import numpy as np

from step_audio.core.containers import KINDS, SoundPart, sound_parts, what_it_is
from step_audio.core.demuxing import Losses, MonoRuns, checked_stream
from step_audio.core.errors import AudioError
from step_audio.core.header_length import missing_seconds
from step_audio.core.mending import mended
from step_audio.core.types import DecodedSound, Pcm

MAX_RATE_HZ: Final = 48_000
"""More is brought down to this while it is decoded: ten minutes of silence at 384 kHz are a small
file, and a gigabyte of samples that no model here would hear."""

_MISSING_S: Final = 0.1
_PADDING_S: Final = 0.05
"""Less than a header promised by this much is the padding of a codec, not a loss."""
_HEADED: Final = frozenset({"wav", "aiff", "au", "caf"})
_TOLD_AT_ONCE: Final = {"probesize": "4096"}
"""Whose header tells everything: ffmpeg would decode five seconds to learn more, 5 ms."""
_WHOLE_NUMBERS: Final = 8.0
"""Nearly all samples below this: floats, else integers written as floats."""


class AudioTooLong(AudioError):
    """More sound than is taken at a time."""

    code = "audio_too_long"

    def __init__(self, max_seconds: float, what: str = "the sound") -> None:
        super().__init__(f"{what} is longer than {max_seconds:g} s; cut it")
        self.max_seconds = max_seconds


def decode_sound(data: bytes, max_seconds: float) -> DecodedSound:
    """Decode what can be heard of a file.

    What is damaged is left out; files that were joined follow each other; where rate or channels
    change, the sound goes on at the highest rate that occurs. Channels: `core.downmix`.

    Args:
        data: the whole file.
        max_seconds: nothing beyond it is decoded, whatever the header says.

    Returns:
        Samples at `MAX_RATE_HZ` at most, in [-1, 1], and what was skipped.

    Raises:
        AudioTooLong. AudioError: nothing can be heard, and why.
    """
    parts = sound_parts(data)
    if not parts:
        raise AudioError(_refusal(data))
    rate_hz = 0
    while True:
        reading = _Reading(max_seconds, rate_hz)
        try:
            for part in parts:
                reading.read(part, data)
            return reading.result()
        except _HigherRate as higher:
            rate_hz = higher.rate_hz


def decode_audio(file: BinaryIO, max_seconds: float) -> tuple[Pcm, int]:
    """Return (samples, rate) of a file that can seek; see `decode_sound`."""
    file.seek(0)
    sound = decode_sound(file.read(), max_seconds)
    return sound.pcm, sound.rate_hz


def _refusal(data: bytes) -> str:
    if not data:
        return "this file is empty; record again"
    known = what_it_is(data[:64])
    what = f"this is {known}" if known else "this is not audio that can be read"
    return f"{what}; send {KINDS}"


class _HigherRate(Exception):
    """The sound goes on at a higher rate than it began with: begin again at that."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz


@dataclass
class _Reading:
    """One pass through all parts of a file.

    Attributes:
        max_seconds: longest sound.
        rate_hz: of the samples; 0: that of the first sound.
    """

    max_seconds: float
    rate_hz: int
    _blocks: list[Pcm] = field(default_factory=list)
    _samples: int = 0
    _warnings: list[str] = field(default_factory=list)
    _refusals: list[str] = field(default_factory=list)

    def read(self, part: SoundPart, data: bytes) -> None:
        """Decode one part. Raises AudioTooLong, _HigherRate."""
        import av  # noqa: PLC0415 - 0.05 s that only sound files pay for

        before, losses, told_s = self._samples, Losses(), 0.0
        content = mended(part, data)
        losses.failures += content != data[part.start : part.end]
        file = io.BytesIO(content)
        try:
            with av.open(
                file,
                "r",
                format=part.kind,
                metadata_errors="ignore",
                options=_TOLD_AT_ONCE if part.kind in _HEADED else {},
            ) as container:
                stream = checked_stream(container)
                told_s = container.duration / 1e6 if container.duration else 0.0
                for samples in MonoRuns(stream, self, losses).all(container):
                    self._keep(samples)
        except (av.FFmpegError, ValueError, EOFError):
            losses.failures += 1
            self._refusals.append(_why(part, data))
        except AudioError as error:
            if isinstance(error, AudioTooLong):
                raise
            self._refusals.append(str(error))
        got_s = (self._samples - before) / self.rate_hz if self.rate_hz else 0.0
        if got_s:
            missing_s = missing_seconds(part, data, told_s, got_s)
            self._tell(part, losses, max(losses.failed_s, missing_s))
        elif part.end - part.start > _TAIL_BYTES or self._refusals:
            self._warnings.append(f"{part.end - part.start} bytes that hold no sound were skipped")

    def result(self) -> DecodedSound:
        """Return the whole. Raises AudioError: there is none."""
        if not self._samples:
            raise AudioError(
                self._refusals[0] if self._refusals else "this file holds no samples; record again"
            )
        pcm = np.concatenate(self._blocks)
        if max(pcm.max(), -pcm.min()) > 1:
            loud = float(np.percentile(np.abs(pcm[:: 1 + len(pcm) // 100_000]), 99))
            if loud > _WHOLE_NUMBERS:
                pcm /= np.float32(32_768)
            np.clip(pcm, -1.0, 1.0, out=pcm)
        return DecodedSound(pcm, self.rate_hz, tuple(dict.fromkeys(self._warnings)))

    def rate_for(self, frame_hz: int) -> int:
        """Return the rate at which a frame is wanted. Raises _HigherRate."""
        wanted = min(frame_hz, MAX_RATE_HZ)
        if not self.rate_hz:
            self.rate_hz = wanted
        if wanted > self.rate_hz:
            raise _HigherRate(wanted)
        return self.rate_hz

    def check_length(self, more: int) -> None:
        """Raise AudioTooLong when `more` samples are too many."""
        if self._samples + more > self.max_seconds * self.rate_hz:
            raise AudioTooLong(self.max_seconds)

    def _keep(self, pcm: Pcm) -> None:
        self.check_length(len(pcm))
        self._samples += len(pcm)
        self._blocks.append(pcm)

    def _tell(self, part: SoundPart, losses: Losses, missing_s: float) -> None:
        """Say what was skipped of a part that was heard."""
        if part.skipped:
            self._warnings.append(f"{part.skipped} bytes in front of the sound were skipped")
        if missing_s > _MISSING_S:
            self._warnings.append(
                f"{missing_s:.1f} s of the sound are damaged or missing and were skipped"
            )
        elif losses.failures or missing_s > _PADDING_S:
            self._warnings.append("damaged parts of the sound were skipped")
        if losses.not_finite:
            self._warnings.append(
                f"{losses.not_finite} samples that are no numbers were taken for silence"
            )


_TAIL_BYTES: Final = 256
"""A tag behind the sound (ID3v1: 128) is no loss."""


def _why(part: SoundPart, data: bytes) -> str:
    """Return why a part could not be opened."""
    name = {"mp4": "m4a", "matroska": "webm"}.get(part.kind, part.kind)
    if part.kind == "mp4" and b"moov" not in data[part.start : part.end]:
        return f"this {name} file was cut off before its index; record or export it again"
    return f"this {name} file is damaged and none of it can be heard; export it again"
