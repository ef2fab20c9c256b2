"""Sound in the formats of files and streams: wav, pcm, mp3, opus, aac, flac.

An encoder is a stage: samples in, bytes out as soon as they are final. PyAV does the work and is
loaded by who asks for a compressed format.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, Protocol, cast, get_args

import numpy as np

from step_audio.core.audio import float_to_pcm16, wav_header
from step_audio.core.errors import InputError
from step_audio.core.ports import Stage
from step_audio.core.types import Pcm

if TYPE_CHECKING:
    from av.audio.stream import AudioStream

AudioFormat = Literal["wav", "pcm", "mp3", "opus", "aac", "flac"]
FORMATS: Final[tuple[AudioFormat, ...]] = get_args(AudioFormat)
FileFormat = AudioFormat | Literal["m4a", "webm"]
"""What a whole file may be; the last two cannot be sent while they are made."""
FILE_ENDINGS: Final[dict[str, FileFormat]] = {
    **{name: name for name in FORMATS},
    "ogg": "opus",
    "oga": "opus",
    "m4a": "m4a",
    "mp4": "m4a",
    "webm": "webm",
}
"""The format that the ending of a file's name says."""
UNKNOWN_LENGTH: Final = 0xFFFFFFFF

MEDIA_TYPES: Final[dict[AudioFormat, str]] = {
    "wav": "audio/wav",
    "pcm": "audio/pcm",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
}


_ALIASES: Final[dict[str, AudioFormat]] = {
    **{media_type: name for name, media_type in MEDIA_TYPES.items()},
    "ogg": "opus",
    "oga": "opus",
    "mpeg": "mp3",
    "wave": "wav",
    "pcm16": "pcm",
    "pcm_s16le": "pcm",
}


def usual_name(given: object) -> object:
    """Return the name under which a format is known here; what is no name of one stays."""
    if not isinstance(given, str):
        return given
    name = given.strip().lower().removeprefix(".")
    return _ALIASES.get(name, name)


class ByteSink(Protocol):
    """Where an encoder writes: a list of pieces, or a file that can seek."""

    def write(self, data: bytes, /) -> int: ...


@dataclass(frozen=True, slots=True)
class _Codec:
    """A container of ffmpeg, its codec, bits a second (0: lossless); options of a stream."""

    container: str
    codec: str
    bit_rate: int = 0
    options: dict[str, str] = field(default_factory=dict)


_AT_ONCE: Final = {"flush_packets": "1"}

_CODECS: Final = {
    # Neither a tag nor the frame with the length: both would have to be written afterwards.
    "mp3": _Codec(
        "mp3", "libmp3lame", 64_000, {"write_xing": "0", "id3v2_version": "0", **_AT_ONCE}
    ),
    # A page every 100 ms; the default of a second is a second of silence at the start.
    "opus": _Codec("ogg", "libopus", 48_000, {"page_duration": "100000", **_AT_ONCE}),
    "aac": _Codec("adts", "aac", 64_000, _AT_ONCE),
    "flac": _Codec("flac", "flac", options=_AT_ONCE),
    "m4a": _Codec("ipod", "aac", 64_000),
    "webm": _Codec("webm", "libopus", 48_000),
}


def format_named(name: str) -> AudioFormat:
    """Return a format by name. Raises InputError, which lists those there are."""
    for known in FORMATS:
        if known == usual_name(name):
            return known
    raise InputError(f"format {name!r} is not supported; choose among {', '.join(FORMATS)}")


def open_encoder(audio_format: AudioFormat, rate_hz: int) -> Stage[Pcm, bytes]:
    """Return a fresh stage from mono samples at `rate_hz` to the bytes of a stream.

    The length is not known when the header is sent: wav says 0xFFFFFFFF, flac 0, which
    libsndfile does not read. Opus takes 8, 12, 16, 24 or 48 kHz.
    """
    if audio_format == "pcm":
        return _Pcm16(b"")
    if audio_format == "wav":
        return _Pcm16(wav_header(rate_hz, UNKNOWN_LENGTH))
    return _Streamed(audio_format, rate_hz)


class _Pcm16:
    """Little-endian 16-bit samples after a header."""

    def __init__(self, header: bytes) -> None:
        self._header = header

    def push(self, pcm: Pcm, /) -> Iterable[bytes]:
        head, self._header = self._header, b""
        return (head + float_to_pcm16(pcm),)

    def flush(self) -> Iterable[bytes]:
        head, self._header = self._header, b""
        return (head,) if head else ()


class _Pieces:
    """A sink that gives its pieces away; it cannot seek, so headers are never rewritten."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes, /) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def taken(self) -> list[bytes]:
        pieces, self._pieces = self._pieces, []
        return pieces


class _Streamed:
    """Stage[Pcm, bytes] around an `Encoder` whose pieces are handed on at once."""

    def __init__(self, audio_format: AudioFormat, rate_hz: int) -> None:
        self._pieces = _Pieces()
        self._encoder = Encoder(self._pieces, audio_format, rate_hz, streamed=True)

    def push(self, pcm: Pcm, /) -> Iterable[bytes]:
        self._encoder.write(pcm)
        return self._pieces.taken()

    def flush(self) -> Iterable[bytes]:
        self._encoder.close()
        return self._pieces.taken()


class Encoder:
    """Compressed sound into a sink.

    Args:
        sink: left open by `close`; it must be able to seek unless `streamed`.
        audio_format: all but wav and pcm.
        rate_hz: of the samples and of the file.
        streamed: each packet is written once and at once; the header cannot tell the length.
    """

    def __init__(
        self, sink: ByteSink, audio_format: FileFormat, rate_hz: int, *, streamed: bool = False
    ) -> None:
        import av  # noqa: PLC0415 - 0.1 s that wav and pcm do without

        codec = _CODECS[audio_format]
        self._frame = av.AudioFrame.from_ndarray
        self._container = av.open(
            sink,
            "w",
            format=codec.container,
            # No serial number drawn at random.
            container_options={**(codec.options if streamed else {}), "fflags": "+bitexact"},
        )
        stream = self._container.add_stream(codec.codec, rate=rate_hz)
        self._stream = cast("AudioStream", stream)
        self._stream.layout = "mono"
        if codec.bit_rate:
            self._stream.bit_rate = codec.bit_rate
        self._rate_hz = rate_hz
        self._samples = 0

    def write(self, pcm: Pcm) -> None:
        """Encode samples, (T,)."""
        if not len(pcm):
            return
        samples = np.frombuffer(float_to_pcm16(pcm), dtype="<i2")[None]
        frame = self._frame(samples, format="s16", layout="mono")
        frame.rate, frame.pts = self._rate_hz, self._samples
        self._samples += len(pcm)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what the codec still holds, and the end."""
        if self._samples:
            self._container.mux(self._stream.encode(None))
        self._container.close()


class SoundFile:
    """One file of any format, from its start; at `close` its header tells the length.

    Args:
        file: can seek; left open.
        audio_format: of the file.
        rate_hz: of the samples and of the file.
    """

    def __init__(self, file: BinaryIO, audio_format: FileFormat, rate_hz: int) -> None:
        self._file, self.rate_hz = file, rate_hz
        self._bytes = 0
        self._is_wav = audio_format == "wav"
        self._encoder = Encoder(file, audio_format, rate_hz) if audio_format in _CODECS else None
        if self._is_wav:
            file.write(wav_header(rate_hz, 0))

    def write(self, pcm: Pcm) -> None:
        """Add samples, (T,)."""
        if self._encoder is not None:
            self._encoder.write(pcm)
            return
        data = float_to_pcm16(pcm)
        self._bytes += len(data)
        self._file.write(data)

    def close(self) -> None:
        """Write the end, and the length into the header."""
        if self._encoder is not None:
            self._encoder.close()
        if self._is_wav:
            self._file.seek(0)
            self._file.write(wav_header(self.rate_hz, min(self._bytes, UNKNOWN_LENGTH)))
            self._file.seek(0, 2)
