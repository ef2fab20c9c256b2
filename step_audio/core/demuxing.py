"""The sound of one container as mono samples, past whatever is damaged in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from step_audio.core.downmix import Downmix
from step_audio.core.errors import AudioError
from step_audio.core.types import RATES_HZ, Pcm

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

MAX_CHANNELS: Final = 64

_MAX_STREAMS: Final = 8
_MAX_READ_ERRORS: Final = 100
"""In a row, without any sound between them."""
_NO_SAMPLE: Final = 65_536.0
"""Floats beyond it are damage: samples that were written as integers end at 32 768."""
_PLAIN: Final = {"s16": np.float32(1 / 2**15), "s32": np.float32(1 / 2**31), "flt": np.float32(1)}
"""Samples that NumPy reads as they lie there: a filter of ffmpeg's would take longer than wav."""


@dataclass
class Losses:
    """What was skipped.

    Attributes:
        failed_s: length of the packets that could not be decoded.
        failures: how many they were, and places that could not be read.
        not_finite: samples that were no numbers.
    """

    failed_s: float = 0.0
    failures: int = 0
    not_finite: int = 0


class Bounds(Protocol):
    """What a reader wants of the sound."""

    def rate_for(self, frame_hz: int) -> int:
        """Return the rate that frames of another rate are brought to."""

    def check_length(self, more: int) -> None:
        """Raise AudioTooLong when `more` samples are too many."""


class MonoRuns:
    """The frames of one stream as mono samples; a run is of one rate and number of channels."""

    def __init__(self, stream: AudioStream, bounds: Bounds, losses: Losses) -> None:
        self._stream, self._bounds, self._losses = stream, bounds, losses
        self._form: tuple[Any, ...] = ()
        self._to_float: Any = None
        self._mix: Downmix | None = None
        self._waiting = 0

    def all(self, container: InputContainer) -> Iterator[Pcm]:
        """Yield mono samples until the end; what `bounds` raises ends them."""
        for frame in self._frames(container):
            form = (frame.format.name, frame.sample_rate, _layout(frame))
            if form != self._form:
                yield from self._end()
                if not self._begin(frame):
                    continue
                self._form = form
            yield from self._mono(frame)
        yield from self._end()

    def _begin(self, frame: AudioFrame) -> bool:
        """Begin a run; False: no sound is like that."""
        import av  # noqa: PLC0415

        channels = frame.layout.nb_channels
        if not _is_sound(frame.sample_rate, channels):
            self._losses.failures += 1
            return False
        rate_hz = self._bounds.rate_for(frame.sample_rate)
        is_plain = frame.format.name in _PLAIN and rate_hz == frame.sample_rate
        # Samples of all channels side by side: PyAV looks for those of eight channels or more that
        # lie apart beyond the end of what it was given.
        self._to_float = (
            None if is_plain else av.AudioResampler(format="flt", layout=frame.layout, rate=rate_hz)
        )
        self._mix = Downmix(channels, rate_hz)
        return True

    def _end(self) -> Iterator[Pcm]:
        """Yield what a run still holds."""
        if self._mix is None:
            return
        yield from self._mono(None)
        yield from self._mixed(self._mix.flush())
        self._mix, self._form, self._waiting = None, (), 0

    def _mono(self, frame: AudioFrame | None) -> Iterator[Pcm]:
        import av  # noqa: PLC0415

        assert self._mix is not None
        try:
            pieces = self._to_float.resample(frame) if self._to_float else [frame] if frame else []
        except (av.FFmpegError, ValueError):
            self._losses.failures += 1
            return
        for piece in pieces:
            if not piece.samples:
                continue
            scale = np.float32(1) if self._to_float else _PLAIN[piece.format.name]
            samples: NDArray[np.float32] = np.multiply(
                piece.to_ndarray().reshape(piece.samples, -1), scale, dtype=np.float32
            )
            self._waiting += len(samples)
            self._bounds.check_length(self._waiting)
            yield from self._mixed(self._mix.push(self._finite(samples)))

    def _mixed(self, blocks: list[Pcm]) -> Iterator[Pcm]:
        for block in blocks:
            self._waiting -= len(block)
            yield block

    def _finite(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the samples, silence where they are no numbers."""
        if np.abs(samples).max() <= _NO_SAMPLE:  # False for NaN
            return samples
        good = np.abs(samples) <= _NO_SAMPLE
        self._losses.not_finite += int(good.size - np.count_nonzero(good))
        return np.where(good, samples, np.float32(0))

    def _frames(self, container: InputContainer) -> Iterator[AudioFrame]:
        """Yield all frames that can be decoded."""
        import av  # noqa: PLC0415

        for packet in self._packets(container):
            try:
                frames = packet.decode()
            except (av.FFmpegError, ValueError, EOFError):
                self._losses.failures += 1
                if packet.duration and packet.time_base:
                    self._losses.failed_s += float(packet.duration * packet.time_base)
                continue
            for frame in frames:
                if isinstance(frame, av.AudioFrame) and frame.samples:
                    yield frame

    def _packets(self, container: InputContainer) -> Iterator[Any]:
        """Yield the packets of the stream; behind a place that cannot be read, those that can."""
        import av  # noqa: PLC0415

        errors = 0
        while errors < _MAX_READ_ERRORS:
            try:
                for packet in container.demux(self._stream):
                    errors = 0 if packet.size else errors
                    yield packet
                return
            except (av.FFmpegError, ValueError):
                errors += 1
                self._losses.failures += 1


def checked_stream(container: InputContainer) -> AudioStream:
    """Return the sound of a file. Raises AudioError: there is none, or of odd rate or channels."""
    audio = container.streams.audio
    if len(container.streams) > _MAX_STREAMS or not audio:
        raise AudioError("this file has no sound in it; send one recording")
    stream = audio[0]
    if stream.codec_context is None:
        raise AudioError("nobody here knows the codec of this file; convert it to 16 kHz mono wav")
    if not _is_sound(stream.rate, stream.channels):
        raise AudioError(
            f"{stream.channels} channels at {stream.rate} Hz; convert it to 16 kHz mono"
        )
    stream.codec_context.thread_count = 1
    if stream.codec_context.name == "flac":  # frames whose checksum is wrong are noise
        stream.codec_context.options = {"err_detect": "crccheck+explode"}
    return stream


def _is_sound(rate_hz: int, channels: int) -> bool:
    return RATES_HZ[0] <= rate_hz <= RATES_HZ[1] and 0 < channels <= MAX_CHANNELS


def _layout(frame: AudioFrame) -> tuple[str, int]:
    return frame.layout.name, frame.layout.nb_channels
