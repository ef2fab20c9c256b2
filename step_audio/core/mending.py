"""Containers made readable again: what is damaged between their elements is left out.

A demuxer that meets a damaged length looks for the next cluster or gives up, although what follows
is whole: seconds, or all the rest. Here the elements are walked through and those that are whole
are kept. Frames themselves are not looked at.
"""

from __future__ import annotations

import zlib
from typing import Final

from step_audio.core.containers import SoundPart

_SEGMENT: Final = b"\x18\x53\x80\x67"
_CLUSTER: Final = b"\x1f\x43\xb6\x75"
_UNKNOWN_SIZE: Final = b"\x01" + b"\xff" * 7
_BLOCKS: Final = frozenset({0xA3, 0xA0})
_IN_CLUSTER: Final = frozenset({0xA3, 0xA0, 0xE7, 0xA7, 0xAB, 0xBF, 0xEC})
"""SimpleBlock, BlockGroup, Timestamp, Position, PrevSize, CRC-32, Void (RFC 9559)."""
_BESIDE_CLUSTERS: Final = frozenset({b"\x1c\x53\xbb\x6b", b"\x12\x54\xc3\x67", b"\x11\x4d\x9b\x74"})
"""Cues, Tags, SeekHead."""
_WANTED: Final = frozenset({b"\x15\x49\xa9\x66", b"\x16\x54\xae\x6b"})
"""Info, Tracks."""
_BOXES: Final = frozenset(
    {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"sidx", b"mfra"}
    | {b"uuid", b"emsg", b"prft", b"meta", b"udta", b"pdin", b"ssix"}
)


def mended(part: SoundPart, data: bytes) -> bytes:
    """Return the bytes of a part; the very same as in `data` where nothing is to be mended."""
    content = data[part.start : part.end]
    mend = {
        "matroska": _mended_matroska,
        "mp4": _mended_mp4,
        "ogg": _mended_ogg,
        "wav": _mended_wav,
    }.get(part.kind)
    return mend(content) if mend else content


def _mended_matroska(data: bytes) -> bytes:
    """Return a WebM file whose clusters hold only whole elements; `data` if they all are."""
    first = data.find(_CLUSTER)
    segment = data.find(_SEGMENT, 0, first)
    if first < 0 or segment < 0:
        return data
    kept: list[bytes] = []
    at, dropped = first, False
    while at < len(data):
        end, piece = _element(data, at)
        if end and _plausible(data, end):
            kept.append(piece)
            at = end
        else:
            at, dropped = _next_element(data, at + 1), True
    if not dropped:
        return data
    return data[:segment] + _SEGMENT + _UNKNOWN_SIZE + _facts(data, segment, first) + b"".join(kept)


def _element(data: bytes, at: int) -> tuple[int, bytes]:
    """Return (end, what to keep) of the element at `at`; (0, b"") when there is none."""
    name = data[at : at + 4]
    if name == _CLUSTER:
        _, width = _size(data, at + 4)
        return (at + 4 + width, _CLUSTER + _UNKNOWN_SIZE) if width else (0, b"")
    if name in _BESIDE_CLUSTERS:
        size, width = _size(data, at + 4)
        return (min(len(data), at + 4 + width + size), b"") if width else (0, b"")
    end = _cluster_element_end(data, at)
    return end, data[at:end] if end else b""


def _cluster_element_end(data: bytes, at: int) -> int:
    """Return the end of an element within a cluster; 0: there is none."""
    if data[at] not in _IN_CLUSTER:
        return 0
    size, width = _size(data, at + 1)
    begin, end = at + 1 + width, at + 1 + width + size
    if not width or not size or end > len(data):
        return 0
    # A block begins with the number of its track, a group with a block.
    fits = {
        0xA3: size > 4 and 0x81 <= data[begin] <= 0x88,
        0xA0: size > 4 and data[begin] == 0xA1,
        0xE7: size <= 8,
    }
    return end if fits.get(data[at], True) else 0


def _plausible(data: bytes, at: int) -> bool:
    """Whether an element begins at `at`, or the file ends there."""
    return at == len(data) or _element(data, at)[0] > 0


def _next_element(data: bytes, start: int) -> int:
    """Return where the next block or cluster begins that is followed by another element."""
    for at in range(start, len(data)):
        if data[at] in _BLOCKS or data[at] == _CLUSTER[0]:
            end, _ = _element(data, at)
            if end and end < len(data) and _plausible(data, end):
                return at
    return len(data)


def _size(data: bytes, at: int) -> tuple[int, int]:
    """Return (value, bytes) of a length; (0, 0): there is none."""
    if at >= len(data) or not data[at]:
        return 0, 0
    width = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + width]) & ((1 << 7 * width) - 1)
    return value, width


def _facts(data: bytes, segment: int, first: int) -> bytes:
    """Return the elements in front of the clusters that a decoder needs."""
    _, width = _size(data, segment + 4)
    at, kept = segment + 4 + width, b""
    while at < first:
        name = data[at : at + 4]
        length = 1 if data[at] == 0xEC else 4
        size, width = _size(data, at + length)
        end = at + length + width + size
        if not width or end > first:
            break
        if name in _WANTED:
            kept += data[at:end]
        at = end
    return kept


def _mended_mp4(data: bytes) -> bytes:
    """Return a fragmented MP4 file with free space in place of damaged boxes; else `data`."""
    if b"moof" not in data:
        return data
    kept: list[bytes] = []
    at, dropped = 0, False
    while at < len(data):
        end = _box_end(data, at)
        # What a fragment's head says of its own is wrong when no fragment follows it.
        is_sound = data[at + 4 : at + 8] != b"moof" or _is_whole(data, at + 8, end)
        if end and is_sound and (end >= len(data) or _box_end(data, end)):
            kept.append(data[at:end])
            at = end
            continue
        following = data.find(b"mfhd", at + 20)  # the first box within a fragment's head
        begin = following - 12 if following >= 0 else len(data)
        # Nothing moves: places are told from the start of the file.
        kept.append((begin - at).to_bytes(4) + b"free" + bytes(max(0, begin - at - 8)))
        at, dropped = begin, True
    return b"".join(kept) if dropped else data


def _is_whole(data: bytes, at: int, end: int) -> bool:
    """Whether the head of a fragment holds boxes that fill it."""
    while at + 8 <= end:
        size, name = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        if name not in _IN_FRAGMENT or not 8 <= size <= end - at:
            return False
        if name == b"traf" and not _is_whole(data, at + 8, at + size):
            return False
        at += size
    return at == end


_IN_FRAGMENT: Final = frozenset(
    {b"mfhd", b"traf", b"tfhd", b"tfdt", b"trun", b"sdtp", b"sbgp", b"sgpd", b"subs", b"saiz"}
    | {b"saio", b"senc", b"uuid", b"free", b"meta"}
)


def _box_end(data: bytes, at: int) -> int:
    """Return the end of the box at `at`, of the file when it was cut; 0: there is no box."""
    size = int.from_bytes(data[at : at + 4])
    if data[at + 4 : at + 8] not in _BOXES or (size < 8 and size > 1):
        return 0
    if size == 1:
        size = int.from_bytes(data[at + 8 : at + 16])
    return min(len(data), at + size) if size else len(data)


def _mended_ogg(data: bytes) -> bytes:
    """Return an Ogg file whose whole pages have right checksums.

    A page holds a second of speech, of which damage touches a few frames; a demuxer leaves out all.
    """
    fixed: bytearray | None = None
    at = 0
    while 0 <= at < len(data):
        head = data[at : at + 27]
        body = data[at + 27 : at + 27 + head[26]] if len(head) == 27 else b""
        end = at + 27 + len(body) + sum(body)
        if end > len(data) and body:
            return bytes(data if fixed is None else fixed)[:at] + _cut_page(data[at:], body)
        if data[end : end + 5] != b"OggS\x00" and end != len(data):
            at = data.find(b"OggS\x00", at + 5)
            continue
        checksum = _ogg_checksum(data[at : at + 22] + bytes(4) + data[at + 26 : end])
        if checksum != head[22:26]:
            fixed = fixed or bytearray(data)
            fixed[at + 22 : at + 26] = checksum
        at = end
    return data if fixed is None else bytes(fixed)


def _cut_page(page: bytes, sizes: bytes) -> bytes:
    """Return a page that was cut, with the pieces that are still whole."""
    count, end = 0, 27 + len(sizes)
    while count < len(sizes) and end + sizes[count] <= len(page):
        end += sizes[count]
        count += 1
    cut = bytearray(page[:27] + sizes[:count] + page[27 + len(sizes) : end])
    cut[26], cut[22:26] = count, bytes(4)
    cut[22:26] = _ogg_checksum(bytes(cut))
    return bytes(cut)


def _mended_wav(data: bytes) -> bytes:
    """Return a wav whose length of the sound reaches as far as there is sound.

    A recorder that was stopped leaves a length behind which no chunk begins.
    """
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + size + size % 2
        if data[at : at + 4] == b"data":
            name = data[end : end + 4]
            whole = int.from_bytes(data[4:8], "little") + 8 >= len(data)
            if size and whole and len(name) == 4 and not (all(32 <= byte < 127 for byte in name)):
                return data[: at + 4] + (len(data) - at - 8).to_bytes(4, "little") + data[at + 8 :]
            return data
        at = end
    return data


def _ogg_checksum(page: bytes) -> bytes:
    """Return the checksum of a page whose own is zero (RFC 3533).

    It is zlib's with the bits of each byte in the other order, and nothing inverted.
    """
    turned = zlib.crc32(page.translate(_TURNED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return turned.to_bytes(4).translate(_TURNED)


_TURNED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
