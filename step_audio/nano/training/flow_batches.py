"""Random crops for the flow decoder: windows as streaming will show them.

Serving generates a window of a few groups at a time, its beginning already known, so training
crops 0.5 to 3 s anywhere in an utterance and reveals a random part of the beginning.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from step_audio.core.vocab import LINGUISTIC_SIZE
from step_audio.nano.training.flow_shards import MEL_BANDS, FlowItem, read_flow_folder
from vocoder.flow import FlowBatch
from vocoder.grid import frames_until

MIN_GROUPS = 4
MAX_GROUPS = 25
_OFFSET = np.array([0, 0, LINGUISTIC_SIZE, LINGUISTIC_SIZE, LINGUISTIC_SIZE])
_HELD_EVERY = 40
_MAX_HELD = 24


class FlowCrops:
    """Endless, seeded batches of equal crops; every 40th item is held out.

    Raises:
        InputError: the folder holds no usable shards.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        batch_frames: int = 3000,
        speakers: Collection[str] | None = None,
    ) -> None:
        items, self.embeddings = read_flow_folder(folder)
        items = [
            item
            for item in items
            if len(item.codes) >= MIN_GROUPS and (speakers is None or item.speaker in speakers)
        ]
        self.held = items[::_HELD_EVERY][:_MAX_HELD]
        held = {id(item) for item in self.held}
        # By length, so that those long enough for a crop are the tail of the list.
        self.items = sorted((i for i in items if id(i) not in held), key=lambda i: len(i.codes))
        self.items = self.items or list(self.held)
        self.lengths = np.array([len(item.codes) for item in self.items])
        self.batch_frames = batch_frames
        self.rng = np.random.default_rng(seed)

    def mel_statistics(self, items: int = 300) -> tuple[float, float]:
        """Return mean and deviation of the mel over some items."""
        picked = self.rng.choice(len(self.items), min(items, len(self.items)), replace=False)
        mel = np.concatenate([self.items[i].mel for i in picked]).astype(np.float32)
        return float(mel.mean()), float(mel.std())

    def next(self) -> FlowBatch:
        """Return the next batch; all its rows have the same number of groups."""
        longest = int(min(MAX_GROUPS, self.lengths[-1]))
        groups = int(self.rng.integers(MIN_GROUPS, longest + 1))
        frames = frames_until(groups)
        first = int(np.searchsorted(self.lengths, groups))
        chances = self.lengths[first:] / self.lengths[first:].sum()
        rows = max(1, self.batch_frames // frames)
        picked = self.rng.choice(np.arange(first, len(self.items)), rows, p=chances)
        return collate(
            [self.items[i] for i in picked],
            [self._start(int(self.lengths[i]) - groups) for i in picked],
            groups,
            np.array([self._known(frames) for _ in range(rows)]),
            self.embeddings,
        )

    def _start(self, latest: int) -> int:
        # Streams begin at the beginning: show it more often than chance would.
        return 0 if self.rng.random() < 0.2 else int(self.rng.integers(0, latest + 1))

    def _known(self, frames: int) -> int:
        return 0 if self.rng.random() < 0.3 else int(self.rng.integers(0, int(0.6 * frames)))


def collate(
    items: list[FlowItem],
    starts: list[int],
    groups: int,
    known: NDArray[np.int64],
    embeddings: dict[str, NDArray[np.float32]],
) -> FlowBatch:
    """Return a crop of `groups` groups from each item, from group `starts[i]` on."""
    frames = frames_until(groups)
    pairs = list(zip(items, starts, strict=True))
    codes = [item.codes[start : start + groups].astype(np.int64) + _OFFSET for item, start in pairs]
    mels = [_cut(item, frames_until(start), frames) for item, start in pairs]
    return FlowBatch(
        tokens=torch.from_numpy(np.stack(codes).reshape(len(items), 5 * groups)),
        mel=torch.from_numpy(np.stack(mels)),
        embedding=torch.from_numpy(np.stack([embeddings[item.speaker] for item in items])),
        known=torch.from_numpy(known),
    )


def _cut(item: FlowItem, start: int, frames: int) -> NDArray[np.float32]:
    mel = item.mel[start : start + frames].astype(np.float32).reshape(-1, MEL_BANDS)
    return np.pad(mel, ((0, frames - len(mel)), (0, 0)), mode="edge")
