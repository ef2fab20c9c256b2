"""Sound files of every kind that is taken, whole and damaged."""

from __future__ import annotations

import io
import random
import wave
from typing import Final, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from step_audio.core.audio import float_to_pcm16

_CODECS: Final[dict[str, tuple[str, str, dict[str, str]]]] = {
    "flac": ("flac", "flac", {}),
    "mp3": ("mp3", "libmp3lame", {}),
    "ogg": ("ogg", "libopus", {}),
    "webm": ("webm", "libopus", {}),
    "m4a": ("ipod", "aac", {}),
    "fragmented m4a": (
        "mp4",
        "aac",
        {"movflags": "frag_keyframe+empty_moov", "frag_duration": "200000"},
    ),
    "aac": ("adts", "aac", {}),
    "aiff": ("aiff", "pcm_s16be", {}),
    "caf": ("caf", "pcm_s16le", {}),
    "au": ("au", "pcm_s16be", {}),
}
KINDS: Final = ("wav", *_CODECS)
_LAYOUTS: Final = {
    1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1",
}  # fmt: skip


def tone(seconds: float, rate_hz: int, channels: int = 1, hz: float = 440.0) -> NDArray[np.float32]:
    """Return a tone that is the same in all channels, (T, C)."""
    at_s = np.arange(round(seconds * rate_hz)) / rate_hz
    pcm = 0.3 * np.sin(2 * np.pi * hz * at_s)
    return np.repeat(pcm[:, None], channels, axis=1).astype(np.float32)


def sound_file(kind: str, samples: NDArray[np.float32], rate_hz: int) -> bytes:
    """Return a file of one of `KINDS`.

    Args:
        kind: ogg and webm hold Opus and take 48 kHz; only wav takes more than 8 channels.
        samples: (T, C).
        rate_hz: of the samples.
    """
    file, channels = io.BytesIO(), samples.shape[1]
    data = float_to_pcm16(samples.reshape(-1))
    if kind == "wav":
        with wave.open(file, "wb") as out:
            out.setparams((channels, 2, rate_hz, 0, "NONE", ""))
            out.writeframes(data)
        return file.getvalue()
    container, codec, options = _CODECS[kind]
    with av.open(file, "w", format=container, container_options=options) as muxer:
        stream = cast("AudioStream", muxer.add_stream(codec, rate=rate_hz))
        stream.layout = _LAYOUTS[channels]
        whole = np.frombuffer(data, dtype="<i2")[None]
        frame = av.AudioFrame.from_ndarray(whole, format="s16", layout=_LAYOUTS[channels])
        frame.rate = rate_hz
        muxer.mux(stream.encode(frame))
        muxer.mux(stream.encode(None))
    return file.getvalue()


def a_tone_of(kind: str, seconds: float = 2.0, channels: int = 1) -> bytes:
    """Return a file of a tone, at a rate that the kind takes."""
    rate_hz = 48_000 if kind in ("ogg", "webm") else 24_000
    return sound_file(kind, tone(seconds, rate_hz, channels), rate_hz)


def overwritten(data: bytes, *, at: float = 0.5, count: int = 400, seed: int = 1) -> bytes:
    """Return a file of which `count` bytes are noise, from a share of its length on."""
    start = int(len(data) * at)
    return data[:start] + random.Random(seed).randbytes(count) + data[start + count :]


def id3_tag(picture_bytes: int = 3000) -> bytes:
    """Return an ID3v2.3 tag as music shops put in front of anything."""
    size = picture_bytes
    sizes = bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\x00\x00" + sizes + random.Random(3).randbytes(size)
