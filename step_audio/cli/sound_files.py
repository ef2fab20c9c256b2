"""Sound files of commands: read whatever the server reads, written as their names say."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from step_audio.core.audio import read_sound
from step_audio.core.encoding import FILE_ENDINGS, FileFormat, SoundFile
from step_audio.core.errors import AudioError, InputError
from step_audio.core.resampling import resample
from step_audio.core.types import Pcm

PAUSE_S: Final = 0.3
_COMPRESSED_HZ: Final = 24_000


def read(path: Path, max_seconds: float = 60.0) -> tuple[Pcm, int]:
    """Return (samples, sample rate) of a file; what was skipped of it is a line on stderr.

    Raises:
        AudioError: nothing can be heard, and why.
    """
    sound = read_sound(path, max_seconds)
    if sound.warnings:
        print(f"step-audio: {path}: {'; '.join(sound.warnings)}", file=sys.stderr)
    return sound.pcm, sound.rate_hz


def format_of(path: Path) -> FileFormat:
    """Return the format of a file name; wav without an ending. Raises InputError."""
    ending = path.suffix.removeprefix(".").lower() or "wav"
    if ending not in FILE_ENDINGS:
        known = ", ".join(FILE_ENDINGS)
        raise InputError(f"format {ending!r} is not supported; choose among {known}")
    return FILE_ENDINGS[ending]


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


def _write(parts: Iterable[tuple[Pcm, int]], file: BinaryIO, audio_format: FileFormat) -> None:
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
