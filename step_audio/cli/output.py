"""Files that commands write: refused early, never half there."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from step_audio.core.errors import InputError


def prepare(path: Path) -> None:
    """Check before the work that `path` can be written after it.

    Raises:
        InputError: its folder is missing or closed to us, or it is a folder itself.
    """
    if not path.parent.is_dir():
        raise InputError(f"no folder {path.parent} for {path.name}; make it first")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"cannot write {path}; choose another place")


def write_text(path: Path, text: str) -> None:
    """Write a text file; `path` is either the old file or the whole new one, never half.

    Raises:
        InputError: the file cannot be written there.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise InputError(f"cannot write {path}: {error.strerror}") from None
