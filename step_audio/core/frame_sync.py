"""Rows of frames without a container: where MPEG audio, ADTS and FLAC begin among other bytes.

A mark of twelve bits is found everywhere by chance; a frame is one when others follow where it says
that it ends, or when its checksum is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

_CHAIN: Final = 3
"""Frames in a row that are no chance."""


def first_frames(data: bytes, start: int, end: int) -> Iterator[tuple[str, int]]:
    """Yield (kind, place) of the first frame of each kind in a range that others follow."""
    for kind, is_first in _FIRST_FRAMES:
        at = data.find(b"\xff", start, end)
        while at >= 0:
            if is_first(data, at):
                yield kind, at
                break
            at = data.find(b"\xff", at + 1, end)


def frame_begins(data: bytes, at: int) -> bool:
    """Whether a row of frames begins at `at`."""
    return any(is_first(data, at) for _, is_first in _FIRST_FRAMES)


def _chain(data: bytes, at: int, length: Callable[[bytes, int], int]) -> bool:
    """Whether `_CHAIN` frames follow each other from `at`, or fewer that end with the data."""
    begin = at
    for number in range(_CHAIN):
        step = length(data, at)
        if not step or data[at : at + 2] != data[begin : begin + 2]:
            return False
        at += step
        if at >= len(data):
            return number > 0 or (at == len(data) and begin == 0)
    return True


def _mp3_length(data: bytes, at: int) -> int:
    """Return the length of the MPEG audio frame at `at`; 0: there is none."""
    head = int.from_bytes(data[at : at + 4])
    version, layer = head >> 19 & 3, head >> 17 & 3
    rate_index, bit_index = head >> 10 & 3, head >> 12 & 15
    if head >> 21 != 0x7FF or version == 1 or layer == 0 or rate_index == 3:
        return 0
    if bit_index in (0, 15):
        return 0
    rate_hz = (44_100, 48_000, 32_000)[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    padding = head >> 9 & 1
    kbits = _KBITS[version == 3, layer][bit_index - 1]
    if layer == 3:
        return (12_000 * kbits // rate_hz + padding) * 4
    samples = 72_000 if layer == 1 and version != 3 else 144_000
    return samples * kbits // rate_hz + padding


_KBITS: Final = {
    (True, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 1): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates of ISO 11172-3 and 13818-3: (MPEG 1, layer bits) -> index."""


def _adts_length(data: bytes, at: int) -> int:
    """Return the length of the ADTS frame at `at`; 0: there is none."""
    head = data[at : at + 7]
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return 0
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return length if length > 7 else 0


def _flac_frames(data: bytes, at: int) -> bool:
    """Whether a FLAC frame begins at `at` and another like it follows."""
    if not _flac_head(data, at):
        return False
    follows = data.find(data[at : at + 2], at + 6, at + _LONGEST_FLAC)
    while follows >= 0:
        # Of the same rate and channels.
        if data[follows + 2 : follows + 4] == data[at + 2 : at + 4] and _flac_head(data, follows):
            return True
        follows = data.find(data[at : at + 2], follows + 1, at + _LONGEST_FLAC)
    return False


_LONGEST_FLAC: Final = 1 << 17


def _flac_head(data: bytes, at: int) -> bool:
    """Whether the head of a FLAC frame (RFC 9639, 9.1) stands at `at`, by its checksum."""
    if data[at + 1 : at + 2] not in (b"\xf8", b"\xf9") or len(data) < at + 16:
        return False
    sizes, rates, number = data[at + 2] >> 4, data[at + 2] & 15, data[at + 4]
    if sizes == 0 or rates == 15 or data[at + 3] & 1:
        return False
    end = at + 5 + sum(number & (0xFF << bit) & 0xFF == (0xFF << bit) & 0xFF for bit in range(2, 7))
    end += {6: 1, 7: 2}.get(sizes, 0) + {12: 1, 13: 2, 14: 2}.get(rates, 0)
    checksum = 0
    for byte in data[at:end]:
        checksum ^= byte
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x107 if checksum & 0x80 else 0)) & 0xFF
    return end < len(data) and checksum == data[end]


_FIRST_FRAMES: Final[tuple[tuple[str, Callable[[bytes, int], bool]], ...]] = (
    ("mp3", lambda data, at: _chain(data, at, _mp3_length)),
    ("aac", lambda data, at: _chain(data, at, _adts_length)),
    ("flac", _flac_frames),
)
