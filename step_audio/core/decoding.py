"""Uploaded sound: told by its first bytes, never by its name, and decoded up to a limit.

Only the demuxer that the first bytes call for is opened, so that playlists and the like, with
which ffmpeg would fetch other files, are never read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np

from step_audio.core.audio import MAX_CHANNELS, RATES_HZ
from step_audio.core.errors import AudioError
from step_audio.core.types import Pcm

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.container import InputContainer

HEAD_BYTES: Final = 16
KINDS: Final = "wav, flac, ogg, mp3, m4a, aac, webm"

MAX_RATE_HZ: Final = 48_000
"""More is brought down to this while it is decoded: ten minutes of silence at 384 kHz are a small
file, and a gigabyte of samples that no model here would hear."""

_MAX_STREAMS: Final = 8


class AudioTooLong(AudioError):
    """More sound than is taken at a time."""

    code = "audio_too_long"

    def __init__(self, max_seconds: float) -> None:
        super().__init__(f"the sound is longer than {max_seconds:g} s; cut it")
        self.max_seconds = max_seconds


def sniffed(head: bytes) -> str | None:
    """Return ffmpeg's name for what starts with `head` (16 bytes); None: no sound we take."""
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[4:8] == b"ftyp":
        return "mp4"
    for mark, name in ((b"fLaC", "flac"), (b"OggS", "ogg"), (b"ID3", "mp3")):
        if head.startswith(mark):
            return name
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        # Layer bits 00 are AAC in ADTS; the others are MPEG audio.
        return "aac" if head[1] & 0x06 == 0 else "mp3"
    return None


def decode_audio(file: BinaryIO, max_seconds: float) -> tuple[Pcm, int]:
    """Decode an upload; channels are averaged.

    Args:
        file: can seek; read from its start, left open.
        max_seconds: nothing beyond it is decoded, whatever the header says.

    Returns:
        (samples, sample rate in Hz, at most `MAX_RATE_HZ`).

    Raises:
        AudioTooLong. AudioError: not audio that we take, or damaged, or empty.
    """
    file.seek(0)
    kind = sniffed(file.read(HEAD_BYTES))
    file.seek(0)
    if kind is None:
        raise AudioError(f"this is no sound file that can be read; send {KINDS}")
    import av  # noqa: PLC0415 - 0.1 s that only uploads pay for

    try:
        with av.open(file, "r", format=kind, metadata_errors="ignore") as container:
            rate_hz = _checked_rate(container)
            blocks = list(_blocks(container, rate_hz, max_seconds))
    except (av.FFmpegError, ValueError, EOFError) as error:
        raise AudioError("this sound file is damaged; export it again") from error
    if not blocks:
        raise AudioError("this sound file holds no samples; record again")
    pcm = np.concatenate(blocks)
    if not np.isfinite(pcm).all():
        raise AudioError("this sound file holds NaN or infinite samples; export it again")
    return pcm, rate_hz


def _checked_rate(container: InputContainer) -> int:
    """Return the rate to decode at. Raises AudioError: no sound, or of odd rate or channels."""
    audio = container.streams.audio
    if len(container.streams) > _MAX_STREAMS or not audio:
        raise AudioError("this file has no sound in it; send one recording")
    rate_hz, channels = audio[0].rate, audio[0].channels
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1] or not 0 < channels <= MAX_CHANNELS:
        raise AudioError(f"{channels} channels at {rate_hz} Hz; convert it to 16 kHz mono")
    return min(rate_hz, MAX_RATE_HZ)


def _blocks(container: InputContainer, rate_hz: int, max_seconds: float) -> Iterator[Pcm]:
    """Yield mono samples until the end. Raises AudioTooLong at the first frame beyond."""
    total = 0
    for piece in _pieces(container, rate_hz):
        total += piece.samples
        if total > max_seconds * rate_hz:
            raise AudioTooLong(max_seconds)
        pcm: Pcm = piece.to_ndarray().mean(axis=0, dtype=np.float32)
        yield pcm


def _pieces(container: InputContainer, rate_hz: int) -> Iterator[AudioFrame]:
    """Yield the frames as floats at `rate_hz`, channels apart."""
    import av  # noqa: PLC0415

    stream = container.streams.audio[0]
    to_float = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate_hz)
    for frame in container.decode(stream):
        yield from to_float.resample(frame)
    if stream.rate != rate_hz:
        yield from to_float.resample(None)  # what the filter still holds
