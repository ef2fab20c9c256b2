"""Spoken text as token groups on disk: what the LM's samples are composed of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from step_audio.core.types import TokenGroup

Codes = NDArray[np.int16]
"""(G, 5): 2 linguistic then 3 semantic codes a row, without offsets."""


@dataclass(frozen=True, slots=True)
class SpokenItem:
    """One utterance: its text, who spoke it, its codes (G, 5)."""

    text: str
    speaker: str
    codes: Codes

    @property
    def groups(self) -> tuple[TokenGroup, ...]:
        return tuple(to_group(row.tolist()) for row in self.codes)


class SpokenGroups(Mapping[str, Sequence[TokenGroup]]):
    """Groups by id, kept as codes (G, 5): 10 bytes a group until it is asked for, not hundreds."""

    def __init__(self, codes: Mapping[str, Codes]) -> None:
        self._codes = codes

    def __getitem__(self, name: str) -> tuple[TokenGroup, ...]:
        return tuple(to_group(row) for row in self._codes[name].tolist())

    def __iter__(self) -> Iterator[str]:
        return iter(self._codes)

    def __len__(self) -> int:
        return len(self._codes)


def to_group(row: Sequence[int]) -> TokenGroup:
    """Return the group of 5 codes, linguistic first."""
    a, b, c, d, e = row
    return TokenGroup((a, b), (c, d, e))


def to_codes(groups: Iterable[TokenGroup]) -> Codes:
    """Return groups as (G, 5) int16."""
    rows = [(*g.linguistic, *g.semantic) for g in groups]
    return np.array(rows, dtype=np.int16).reshape(-1, 5)


def write_spoken(path: Path, items: Sequence[SpokenItem]) -> None:
    """Write `path` (codes and offsets) and `path`.json (text and speaker of each item)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    offsets = np.cumsum([0, *(len(i.codes) for i in items)]).astype(np.int64)
    codes = np.concatenate([i.codes for i in items]) if items else np.zeros((0, 5), np.int16)
    temporary = path.with_suffix(".tmp")
    rows = [[i.text, i.speaker] for i in items]
    path.with_suffix(".json").write_text(json.dumps(rows), encoding="utf-8")
    save_file({"codes": codes, "offsets": offsets}, str(temporary))
    temporary.replace(path)


def read_spoken(path: Path) -> list[SpokenItem]:
    """Read what `write_spoken` wrote."""
    tensors = load_file(str(path))
    rows = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    offsets = tensors["offsets"]
    return [
        SpokenItem(text, speaker, tensors["codes"][offsets[i] : offsets[i + 1]])
        for i, (text, speaker) in enumerate(rows)
    ]
