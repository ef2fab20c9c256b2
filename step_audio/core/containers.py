"""Which sound files lie in a row of bytes: told by the bytes alone, never by a name.

What programs put in front of sound (ID3 tags, junk, half a frame) is passed over, and files that
were joined are told apart. Nothing is decoded here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

HEAD_BYTES: Final = 16
KINDS: Final = "wav, flac, ogg, mp3, m4a, aac, webm, aiff, caf, au or amr"
SOUND_ENDINGS: Final = frozenset(
    {".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".mp4", ".aac", ".webm"}
    | {".aif", ".aiff", ".caf", ".au", ".amr", ".3gp", ".mka"}
)
"""By which files of sound are found in a folder; what they are, their bytes say."""

_FRAMES: Final = frozenset({"mp3", "aac", "flac"})
"""Kinds that are rows of frames: such a file may begin anywhere."""
_SEARCHED: Final = 1 << 20
"""So far a beginning is looked for."""
_CHAIN: Final = 3
"""Frames in a row that are no chance."""
_MAX_PARTS: Final = 256


@dataclass(frozen=True, slots=True)
class SoundPart:
    """A sound file within the bytes.

    Attributes:
        kind: ffmpeg's name for its container.
        start, end: where it lies.
        skipped: bytes in front of it that are neither sound nor a tag.
    """

    kind: str
    start: int
    end: int
    skipped: int = 0


def sniffed(head: bytes) -> str | None:
    """Return ffmpeg's name for what starts with `head` (16 bytes); None: no sound we take."""
    kind = _marked(head)
    if kind is not None:
        return kind
    if head.startswith(b"ID3"):
        return "mp3"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        # Layer bits 00 are AAC in ADTS; the others are MPEG audio.
        return "aac" if head[1] & 0x06 == 0 else "mp3"
    return None


def has_marked_head(data: bytes) -> bool:
    """Whether bytes begin as a file with a mark of four bytes or more; raw samples never do."""
    return _marked(data[:HEAD_BYTES]) is not None or _tag_end(data, 0) > 0


def sound_parts(data: bytes) -> list[SoundPart]:
    """Return the files that lie one behind the other; [] for none that we take."""
    begun = _beginning(data, 0)
    parts: list[SoundPart] = []
    while begun is not None and len(parts) < _MAX_PARTS:
        following = _following(data, begun)
        end = len(data) if following is None else following[0]
        parts.append(SoundPart(begun.kind, begun.start, end, begun.skipped))
        begun = None if following is None else _beginning(data, following[1])
    return parts


def what_it_is(head: bytes) -> str | None:
    """Return what a file that is no sound is, in words; None: not known."""
    text = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    for mark, name in _OTHERS:
        if text.startswith(mark):
            return name
    return None


_OTHERS: Final = (
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML document"),
    (b"{", "JSON"),
    (b"#extm3u", "a playlist"),
    (b"[playlist", "a playlist"),
    (b"ffconcat", "a playlist"),
    (b"%pdf", "a PDF"),
    (b"pk\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89png", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"gif8", "a picture"),
    (b"mthd", "a MIDI file, which holds notes and no sound"),
)


def _marked(head: bytes) -> str | None:
    """Return the kind of a file whose first bytes are a mark that chance does not make."""
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[4:8] == b"ftyp":
        return "mp4"
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    return None


_MARKS: Final = (
    (b"fLaC", "flac"),
    (b"OggS", "ogg"),
    (b"\x1a\x45\xdf\xa3", "matroska"),
    (b"caff\x00\x01", "caf"),
    (b".snd\x00\x00\x00", "au"),
    (b"#!AMR", "amr"),
)


def _beginning(data: bytes, start: int) -> SoundPart | None:
    """Return the file that begins at `start` or behind what stands there in front of it."""
    at = start
    while (tag := _tag_end(data, at)) > 0:
        at = tag
    kind = _marked(data[at : at + HEAD_BYTES])
    if kind is not None:
        return SoundPart(kind, at, len(data))
    tag_at = _tag_before_sound(data, at, at + _SEARCHED)
    tagged = [] if tag_at is None else [("tag", tag_at)]
    frames = _first_frames(data, at)
    marks = list(_marks_from(data, at, at + _SEARCHED))
    nearest = min([*tagged, *frames, *marks], key=lambda found: found[1], default=None)
    if nearest is not None and nearest[0] == "tag":
        behind = _beginning(data, nearest[1])
        return behind and replace(behind, skipped=behind.skipped + nearest[1] - at)
    if nearest is not None:
        return SoundPart(nearest[0], nearest[1], len(data), nearest[1] - at)
    # A single frame, or one whose follower is damaged.
    weak = sniffed(data[at : at + HEAD_BYTES])
    return SoundPart(weak, at, len(data)) if weak in _FRAMES else None


def _following(data: bytes, part: SoundPart) -> tuple[int, int] | None:
    """Return (end of this part, where the next one begins); None: it goes on to the end."""
    if part.kind == "ogg":
        chained = _chained_ogg(data, part.start)
        return None if chained is None else (chained, chained)
    found = [
        at
        for kind, at in _marks_from(data, part.start + 1, len(data))
        if kind == part.kind or part.kind in _FRAMES or part.kind == "wav"
    ]
    tag = _tag_before_sound(data, part.start + 1, len(data)) if part.kind in _FRAMES else None
    behind = _behind_wav(data, part.start) if part.kind == "wav" else None
    ends = [at for at in (*found, tag, behind) if at is not None]
    return (min(ends), min(ends)) if ends else None


def _marks_from(data: bytes, start: int, end: int) -> Iterator[tuple[str, int]]:
    """Yield (kind, place) of the first strong mark of each kind in a range."""
    for mark, before, kind, is_one in _STRONG:
        at = data.find(mark, start + before, end)
        while at >= 0:
            if is_one(data, at - before):
                yield kind, at - before
                break
            at = data.find(mark, at + 1, end)


def _is_wav(data: bytes, at: int) -> bool:
    return _marked(data[at : at + HEAD_BYTES]) == "wav"


def _is_flac(data: bytes, at: int) -> bool:
    # The block with the stream's facts comes first and has 34 bytes.
    return data[at + 4 : at + 8] in (b"\x00\x00\x00\x22", b"\x80\x00\x00\x22")


def _is_ogg(data: bytes, at: int) -> bool:
    return data[at + 5] & 2 == 2 if len(data) > at + 27 else False


def _is_matroska(data: bytes, at: int) -> bool:
    return any(name in data[at : at + 64] for name in (b"webm", b"matroska"))


def _is_mp4(data: bytes, at: int) -> bool:
    size = int.from_bytes(data[at : at + 4])
    behind = data[at + size + 4 : at + size + 8]
    return 8 <= size <= 256 and behind in _BOXES


_BOXES: Final = frozenset(
    {b"moov", b"mdat", b"free", b"skip", b"moof", b"wide", b"uuid", b"sidx", b"styp"}
)
_STRONG: Final[tuple[tuple[bytes, int, str, Callable[[bytes, int], bool]], ...]] = (
    (b"WAVEfmt ", 8, "wav", _is_wav),
    (b"fLaC", 0, "flac", _is_flac),
    (b"OggS\x00", 0, "ogg", _is_ogg),
    (b"\x1a\x45\xdf\xa3", 0, "matroska", _is_matroska),
    (b"ftyp", 4, "mp4", _is_mp4),
)
"""(mark, bytes before it, kind, whether it is one)."""


def _chained_ogg(data: bytes, start: int) -> int | None:
    """Return where a second stream begins behind the pages of a first; None: there is none.

    The first pages of streams that belong together stand side by side.
    """
    is_first = True
    at = start
    while at >= 0:
        begins = at + 5 < len(data) and bool(data[at + 5] & 2)
        if begins and not is_first:
            return at
        is_first = begins
        at = data.find(b"OggS\x00", at + 5)
    return None


def _tag_end(data: bytes, at: int) -> int:
    """Return the end of an ID3v2 tag that begins at `at`; 0: there is none.

    A size that reaches beyond the end is a damaged one: then only its head is passed over.
    """
    head = data[at : at + 10]
    if len(head) < 10 or head[:3] != b"ID3" or not 2 <= head[3] <= 4 or head[4] == 0xFF:
        return 0
    if any(byte & 0x80 for byte in head[6:10]):
        return at + 10
    size = int.from_bytes(bytes(head[6:10]))
    # Seven bits a byte.
    size = (size & 0x7F) | (size & 0x7F00) >> 1 | (size & 0x7F0000) >> 2 | (size & 0x7F000000) >> 3
    end = at + 10 + size + (10 if head[5] & 0x10 else 0)
    return end if end < len(data) else at + 10


def _behind_wav(data: bytes, start: int) -> int | None:
    """Return the end that the head of a wav tells, if another file begins there; else None."""
    end = start + 8 + int.from_bytes(data[start + 4 : start + 8], "little")
    begins = _tag_end(data, end) or any(is_first(data, end) for _, is_first in _FIRST_FRAMES)
    return end if end < len(data) and begins else None


def _tag_before_sound(data: bytes, start: int, until: int) -> int | None:
    """Return where an ID3v2 tag stands behind which a file begins; None: nowhere in a range."""
    at = data.find(b"ID3", start, until)
    while at >= 0:
        end = _tag_end(data, at)
        if end and sniffed(data[end : end + HEAD_BYTES]) is not None:
            return at
        at = data.find(b"ID3", at + 3, until)
    return None


def _first_frames(data: bytes, start: int) -> Iterator[tuple[str, int]]:
    """Yield (kind, place) of the first frames that others follow, looked for from `start`."""
    for kind, is_first in _FIRST_FRAMES:
        at = data.find(b"\xff", start, start + _SEARCHED)
        while at >= 0:
            if is_first(data, at):
                yield kind, at
                break
            at = data.find(b"\xff", at + 1, start + _SEARCHED)


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
