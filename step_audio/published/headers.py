"""Headers of safetensors files: names, types and shapes, without reading a single weight."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from step_audio.core.errors import WeightsError
from step_audio.core.json_files import read_object

INDEX_FILE: Final = "model.safetensors.index.json"
_MAX_HEADER: Final = 100_000_000
_WIDTHS: Final = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"), 1),
}


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """One tensor: in which file, of which type and shape, and at which bytes of the file."""

    file: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def parameters(self) -> int:
        return math.prod(self.shape)


def read_headers(folder: Path) -> tuple[dict[str, TensorFacts], list[str]]:
    """Return every tensor of a folder's safetensors files, and what its index lists but lacks.

    Raises:
        WeightsError: a file that is cut short or is not of the format, a tensor that comes twice.
    """
    found: dict[str, TensorFacts] = {}
    for path in sorted(folder.glob("*.safetensors")):
        for name, facts in read_header(path).items():
            if name in found:
                raise WeightsError(f"{name} is in {found[name].file} and in {path.name}")
            found[name] = facts
    return found, [name for name in _indexed(folder) if not (folder / name).is_file()]


def read_header(path: Path) -> dict[str, TensorFacts]:
    """Return the tensors of one file. Raises WeightsError: cut short, or not of the format."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size - 8, _MAX_HEADER):
                raise WeightsError(f"{path.name} is cut short or is no safetensors file")
            header = json.loads(file.read(length))
    except (OSError, struct.error, ValueError, RecursionError):
        raise WeightsError(f"{path.name} is cut short or is no safetensors file") from None
    if not isinstance(header, dict):
        raise WeightsError(f"{path.name} is no safetensors file")
    header.pop("__metadata__", None)
    return {name: _facts(path, name, entry, 8 + length, size) for name, entry in header.items()}


def _facts(path: Path, name: str, entry: Any, base: int, size: int) -> TensorFacts:
    match entry:
        case {
            "dtype": str(dtype),
            "shape": list(shape),
            "data_offsets": [int(begin), int(end)],
        } if dtype in _WIDTHS and all(type(n) is int and n >= 0 for n in shape):
            facts = TensorFacts(path.name, dtype, tuple(shape), base + begin, base + end)
        case _:
            raise WeightsError(f"{path.name}: {name} has no readable type, shape and place")
    if not 0 <= begin <= end or end - begin != facts.parameters * _WIDTHS[dtype]:
        raise WeightsError(f"{path.name}: {name} does not have the bytes of its shape")
    if base + end > size:
        raise WeightsError(f"{path.name} is cut short: {name} ends beyond it; fetch it again")
    return facts


def _indexed(folder: Path) -> list[str]:
    """Return the names of the shards that the index lists."""
    path = folder / INDEX_FILE
    if not path.is_file():
        return []
    listed = read_object(path, WeightsError, max_bytes=_MAX_HEADER).get("weight_map")
    if not isinstance(listed, Mapping) or not all(isinstance(n, str) for n in listed.values()):
        raise WeightsError(f"{INDEX_FILE} has no weight_map")
    names = sorted(set(listed.values()))
    if any(Path(name).name != name for name in names):
        raise WeightsError(f"{INDEX_FILE} names a file outside of its folder")
    return names
