"""How much of a sound file is missing, by what the file says of itself."""

from __future__ import annotations

import re
from typing import Final

from step_audio.core.containers import SoundPart

_BY_HEADER: Final = frozenset({"wav", "flac", "ogg", "mp4", "matroska", "aiff", "au", "caf"})
"""Kinds whose length ffmpeg knows; with the others it guesses from the first frames."""
_UNKNOWN_BYTES: Final = 0x7FFF_0000
"""What is written before the length of a wav is known is above this."""
_MP3_HEAD: Final = 512
_MP3_LENGTH: Final = re.compile(rb"Xing|Info|VBRI")


def missing_seconds(part: SoundPart, data: bytes, told_s: float | None, got_s: float) -> float:
    """Return how much less was heard than there should be; 0: nothing, or nobody knows.

    Args:
        part: the file within `data`.
        told_s: length according to ffmpeg; None: it has none.
        got_s: what was decoded.
    """
    content = memoryview(data)[part.start : part.end]
    if part.kind == "wav":
        present, promised = _wav_bytes(content)
        return got_s * (promised / present - 1) if present and promised > present else 0.0
    if part.kind == "ogg" and (cut := _cut_page_share(content)):
        return max(got_s * cut, _past(told_s, got_s))
    if part.kind in _BY_HEADER or (
        part.kind == "mp3" and _MP3_LENGTH.search(content[:_MP3_HEAD]) is not None
    ):
        return _past(told_s, got_s)
    return 0.0


def _past(told_s: float | None, got_s: float) -> float:
    return max(0.0, (told_s or 0.0) - got_s)


def _wav_bytes(content: memoryview) -> tuple[int, int]:
    """Return (bytes of sound that are there, bytes that the header promises)."""
    at, end = 12, len(content)
    while at + 8 <= end:
        name, size = bytes(content[at : at + 4]), int.from_bytes(content[at + 4 : at + 8], "little")
        if name == b"data":
            present = end - at - 8
            return present, size if size < _UNKNOWN_BYTES else 0
        at += 8 + size + size % 2
    return 0, 0


def _cut_page_share(content: memoryview) -> float:
    """Return the share of the file that its last Ogg page lacks; 0: it is whole."""
    at = bytes(content[-_LONGEST_PAGE:]).rfind(b"OggS\x00")
    if at < 0:
        return 0.0
    page = content[-_LONGEST_PAGE:][at:]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return 1e-6
    lacking = 27 + page[26] + sum(page[27 : 27 + page[26]]) - len(page)
    return max(0, lacking) / len(content)


_LONGEST_PAGE: Final = 65_307
