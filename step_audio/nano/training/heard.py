"""What the encoder hears while it learns, for an LM that learns to read it at the same time.

Every utterance is heard with a new speaker, room and noise each time, so the LM never meets the
same codes twice, and follows the encoder wherever that moves.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from torch import Tensor

from step_audio.data.spoken import SpokenItem, read_spoken, write_spoken
from step_audio.nano.corpus.corpus import CorpusUtterance
from step_audio.nano.domain import QaSample, qa_sample

PATTERN = "heard-*.safetensors"
SHARD = 2000
KEPT_SHARDS = 40
"""Older shards are deleted: they tell how the encoder heard long ago."""


class HeardWriter:
    """Collects utterances with their linguistic codes into shards in a folder."""

    def __init__(self, folder: Path, size: int = SHARD, kept: int = KEPT_SHARDS) -> None:
        self.folder, self.size, self.kept = folder, size, kept
        self._rows: list[tuple[SpokenItem, QaSample | None]] = []
        written = sorted(folder.glob(PATTERN))
        self._index = 1 + int(written[-1].stem.split("-")[1]) if written else 0

    def add(self, utterances: Sequence[CorpusUtterance], codes: Tensor, lengths: Tensor) -> None:
        """Take a batch: codes (B, T) at 16.7 Hz, of which lengths (B,) are real."""
        for said, row, length in zip(
            utterances, codes.cpu().numpy(), lengths.tolist(), strict=True
        ):
            pairs = row[: length // 2 * 2].reshape(-1, 2)
            # Questions are shown by their linguistic codes alone; the others stay 0.
            groups = np.pad(pairs, ((0, 0), (0, 3))).astype(np.int16)
            self._rows.append((SpokenItem(said.text, said.speaker, groups), said.sample))
        if len(self._rows) >= self.size:
            self._write()

    def add_item(self, item: SpokenItem, sample: QaSample | None) -> None:
        """Take one utterance that is encoded already."""
        self._rows.append((item, sample))
        if len(self._rows) >= self.size:
            self._write()

    def close(self) -> None:
        """Write what no whole shard came of."""
        if self._rows:
            self._write()

    def _write(self) -> None:
        path = self.folder / f"heard-{self._index:05d}.safetensors"
        items, samples = zip(*self._rows, strict=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [sample and asdict(sample) for sample in samples]
        _samples_of(path).write_text(json.dumps(rows), encoding="utf-8")
        write_spoken(path, items)  # last: who sees the shard finds the rest
        self._rows.clear()
        self._index += 1
        for old in sorted(self.folder.glob(PATTERN))[: -self.kept]:
            for part in (old, old.with_suffix(".json"), _samples_of(old)):
                part.unlink(missing_ok=True)


def read_heard(path: Path) -> tuple[list[SpokenItem], list[QaSample | None]]:
    """Return the items of a shard and the question that each of them is, if any."""
    rows = json.loads(_samples_of(path).read_text(encoding="utf-8"))
    return read_spoken(path), [row and qa_sample(row) for row in rows]


def _samples_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}.qa.json")
