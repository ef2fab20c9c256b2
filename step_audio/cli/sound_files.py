"""Sound of any length into a file of the format that its name says."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from step_audio.core.encoding import AudioFormat, SoundFile, format_named
from step_audio.core.errors import AudioError
from step_audio.core.resampling import resample
from step_audio.core.types import Pcm

PAUSE_S: Final = 0.3
_COMPRESSED_HZ: Final = 24_000


def format_of(path: Path) -> AudioFormat:
    """Return the format of a file name; wav without an ending. Raises InputError."""
    return format_named(path.suffix.removeprefix(".").lower() or "wav")


def write_sound(parts: Iterable[tuple[Pcm, int]], path: Path) -> None:
    """Write parts, (samples, rate) each, one after the other with a breath between.

    One part at a time is in memory; `path` is either the old file or the whole new one.

    Raises:
        AudioError: the file cannot be written there.
    """
    part_path = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part_path.open("wb") as file:
            _write(parts, file, format_of(path))
        part_path.replace(path)
    except OSError as error:
        raise AudioError(f"cannot write {path}: {error.strerror}; choose another place") from error
    finally:
        with contextlib.suppress(OSError):
            part_path.unlink()


def _write(parts: Iterable[tuple[Pcm, int]], file: BinaryIO, audio_format: AudioFormat) -> None:
    """Write wav at the rate of its first part, all else at one that every codec takes."""
    sound = None if audio_format == "wav" else SoundFile(file, audio_format, _COMPRESSED_HZ)
    for at, (pcm, rate_hz) in enumerate(parts):
        sound = sound or SoundFile(file, audio_format, rate_hz)
        sound.write(resample(_after_pause(pcm, rate_hz, at), rate_hz, sound.rate_hz))
    if sound is not None:
        sound.close()


def _after_pause(pcm: Pcm, rate_hz: int, at: int) -> Pcm:
    pause = np.zeros(int(PAUSE_S * rate_hz) if at else 0, dtype=np.float32)
    return np.concatenate((pause, pcm))
