"""Which sound files lie in a row of bytes: told by the bytes alone, never by a name.

What programs put in front of sound (ID3 tags, junk, half a frame) is passed over, and files that
were joined are told apart. Nothing is decoded here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from step_audio.core.frame_sync import first_frames, frame_begins

HEAD_BYTES: Final = 16
KINDS: Final = "wav, flac, ogg, mp3, m4a, aac, webm, aiff, caf, au or amr"
SOUND_ENDINGS: Final = frozenset(
    {".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".mp4", ".aac", ".webm"}
    | {".aif", ".aiff", ".caf", ".au", ".amr", ".3gp", ".mka", ".w64", ".sph"}
)
"""By which files of sound are found in a folder; what they are, their bytes say."""

_FRAMES: Final = frozenset({"mp3", "aac", "flac"})
"""Kinds that are rows of frames: such a file may begin anywhere."""
_SEARCHED: Final = 1 << 20
"""So far a beginning is looked for."""
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
    (b"riff\x2e\x91\xcf\x11", "w64"),
    (b"NIST_1A\n", "nistsphere"),
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
    frames = first_frames(data, at, at + _SEARCHED)
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
    found: list[int | None] = (
        [_chained_ogg(data, part.start)]
        if part.kind == "ogg"
        else [
            at
            for kind, at in _marks_from(data, part.start + 1, len(data))
            if kind == part.kind or part.kind in _FRAMES or part.kind == "wav"
        ]
    )
    tag = _tag_before_sound(data, part.start + 1, len(data)) if part.kind in _FRAMES else None
    ends = [at for at in (*found, tag, _behind(data, part)) if at is not None]
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


def _behind(data: bytes, part: SoundPart) -> int | None:
    """Return the end that a file tells of itself, if another one begins there; else None."""
    end = _TOLD_ENDS[part.kind](data, part.start) if part.kind in _TOLD_ENDS else len(data)
    head = data[end : end + HEAD_BYTES]
    begins = _marked(head) or _tag_end(data, end) or frame_begins(data, end)
    return end if 0 < end < len(data) and begins else None


def _riff_end(data: bytes, at: int) -> int:
    return at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")


def _boxes_end(data: bytes, at: int) -> int:
    """Return where the boxes of an MP4 file end."""
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4])
        if size < 8 or data[at + 4 : at + 8] not in _BOXES | {b"ftyp", b"mfra"}:
            break
        at += size
    return at


def _segment_end(data: bytes, at: int) -> int:
    """Return the end of a WebM file whose segment tells its length."""
    segment = data.find(b"\x18\x53\x80\x67", at, at + 256)
    if segment < 0 or not data[segment + 4]:
        return len(data)
    width = 9 - data[segment + 4].bit_length()
    size = int.from_bytes(data[segment + 4 : segment + 4 + width]) & ((1 << 7 * width) - 1)
    return segment + 4 + width + size


def _pages_end(data: bytes, at: int) -> int:
    """Return where the pages of an Ogg file end."""
    while data[at : at + 5] == b"OggS\x00" and at + 27 <= len(data):
        sizes = data[at + 27 : at + 27 + data[at + 26]]
        at += 27 + len(sizes) + sum(sizes)
    return at


_TOLD_ENDS: Final[dict[str, Callable[[bytes, int], int]]] = {
    "wav": _riff_end,
    "mp4": _boxes_end,
    "matroska": _segment_end,
    "ogg": _pages_end,
}


def _tag_before_sound(data: bytes, start: int, until: int) -> int | None:
    """Return where an ID3v2 tag stands behind which a file begins; None: nowhere in a range."""
    at = data.find(b"ID3", start, until)
    while at >= 0:
        end = _tag_end(data, at)
        if end and sniffed(data[end : end + HEAD_BYTES]) is not None:
            return at
        at = data.find(b"ID3", at + 3, until)
    return None
