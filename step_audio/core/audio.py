"""Sound at the edges: PCM16, files, rechunking. Inside, sound is mono float32.

Nothing here knows of base64 or of the network.
"""

from __future__ import annotations

import contextlib
import io
import os
import wave
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from step_audio.core.decoding import AudioTooLong, decode_sound
from step_audio.core.errors import AudioError
from step_audio.core.types import DecodedSound, Pcm

SILENCE_PEAK: Final = 1e-4


def pcm16_to_float(data: bytes) -> Pcm:
    """Return little-endian 16-bit samples as floats in [-1, 1). Raises AudioError: odd length."""
    if len(data) % 2:
        raise AudioError(f"{len(data)} bytes are not whole 16-bit samples; send an even number")
    return np.frombuffer(data, dtype="<i2").astype(np.float32) / np.float32(32768)


def float_to_pcm16(pcm: Pcm) -> bytes:
    """Return samples as little-endian 16-bit; beyond [-1, 1] they are clipped."""
    return np.clip(np.round(pcm * 32768), -32768, 32767).astype("<i2").tobytes()


def wav_header(rate_hz: int, data_bytes: int) -> bytes:
    """Return the 44 bytes in front of mono 16-bit samples.

    Args:
        rate_hz: sample rate.
        data_bytes: length of what follows; 0xFFFFFFFF when a stream's length is not known.
    """
    riff = min(data_bytes + 36, 0xFFFFFFFF)
    return b"".join(
        (
            b"RIFF" + riff.to_bytes(4, "little") + b"WAVEfmt ",
            (16).to_bytes(4, "little") + (1).to_bytes(2, "little") + (1).to_bytes(2, "little"),
            rate_hz.to_bytes(4, "little") + (2 * rate_hz).to_bytes(4, "little"),
            (2).to_bytes(2, "little") + (16).to_bytes(2, "little"),
            b"data" + data_bytes.to_bytes(4, "little"),
        )
    )


def wav_bytes(pcm: Pcm, rate_hz: int) -> bytes:
    """Return a complete mono 16-bit wav file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes(float_to_pcm16(pcm))
    return buffer.getvalue()


def write_wav(path: Path, pcm: Pcm, rate_hz: int) -> None:
    """Write a mono 16-bit wav; `path` is either the old file or the whole new one, never half.

    Raises:
        AudioError: the file cannot be written there.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(wav_bytes(pcm, rate_hz))
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise AudioError(f"cannot write {path}: {error.strerror}; choose another place") from error


def read_sound(path: Path, max_seconds: float = 60.0) -> DecodedSound:
    """Read what can be heard of a sound file of any kind; see `core.decoding`.

    Args:
        path: the file.
        max_seconds: longer sound is refused; nothing beyond it is decoded.

    Raises:
        AudioError: missing, not audio, empty, silent throughout, or too long.
    """
    if not path.is_file():
        raise AudioError(f"no file {path}; check the path")
    try:
        sound = decode_sound(path.read_bytes(), max_seconds)
    except OSError as error:
        raise AudioError(f"cannot read {path}: {error.strerror}") from error
    except AudioTooLong as error:
        raise AudioTooLong(max_seconds, str(path)) from error
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from error
    check_sound(sound.pcm, str(path))
    return sound


def read_audio(path: Path, max_seconds: float = 60.0) -> tuple[Pcm, int]:
    """Return (samples, sample rate in Hz) of a file; see `read_sound`."""
    sound = read_sound(path, max_seconds)
    return sound.pcm, sound.rate_hz


def check_sound(pcm: Pcm, what: str) -> None:
    """Raise AudioError when samples are missing, not finite, or silent throughout."""
    if not len(pcm):
        raise AudioError(f"{what} holds no samples; record again")
    if not np.isfinite(pcm).all():
        raise AudioError(f"{what} holds NaN or infinite samples; export it again")
    if float(np.abs(pcm).max()) < SILENCE_PEAK:
        raise AudioError(f"{what} is silent throughout; check the microphone and record again")


class Rechunker:
    """Stage[Pcm, Pcm]: chunks of any length in, frames of `size` samples out."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rest: Pcm = np.zeros(0, dtype=np.float32)

    def push(self, pcm: Pcm, /) -> Iterable[Pcm]:
        """Take samples and return the frames that are full."""
        joined = np.concatenate((self._rest, pcm))
        whole = len(joined) - len(joined) % self._size
        self._rest = joined[whole:].copy()
        return list(joined[:whole].reshape(-1, self._size))

    def flush(self) -> Iterable[Pcm]:
        """Return the last frame, shorter than the others, if anything is left."""
        rest, self._rest = self._rest, self._rest[:0]
        return (rest,) if len(rest) else ()
