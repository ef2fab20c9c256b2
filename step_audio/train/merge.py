"""Weighted merge of checkpoints: each tensor is the weighted mean of the parents' tensors.

One tensor of each parent is in memory at a time, so 130 billion parameters need no more than
their largest matrix. Source: Step-Audio-AQAA report, arXiv:2506.08967 (SFT and DPO stages merged).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from step_audio.core.errors import InputError
from step_audio.train.checkpoints import SHARD_BYTES, Checkpoint, CheckpointWriter, new_folder
from step_audio.train.checkpoints import provenance as provenance_of


@dataclass(frozen=True, slots=True)
class Parent:
    """A checkpoint and its weight among all."""

    folder: Path
    weight: float

    @classmethod
    def parse(cls, text: str) -> Parent:
        """Return the parent of `FOLDER=WEIGHT`. Raises InputError: no such form."""
        folder, sign, weight = text.rpartition("=")
        try:
            if sign and folder:
                return cls(Path(folder), float(weight))
        except ValueError:
            pass
        raise InputError(f"{text!r} is not FOLDER=WEIGHT, such as runs/sft2/export=5")


def merge(parents: Sequence[Parent], out: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Write the merge of any number of checkpoints; weights are divided by their sum.

    Args:
        parents: equal in config; the first gives the text tokenizer and the type of the result.
        out: another folder.
        shard_bytes: size of a file.

    Raises:
        WeightsError: a folder is damaged.
        InputError: they do not fit, or the weights make no sense.
    """
    if not parents:
        raise InputError("nothing to merge; give --parent FOLDER=WEIGHT once or more")
    total = math.fsum(parent.weight for parent in parents)
    if not all(math.isfinite(p.weight) for p in parents) or abs(total) < 1e-9:
        raise InputError("the weights of the parents must be finite and must not cancel out")
    new_folder(out, *(parent.folder for parent in parents))
    opened = [Checkpoint(parent.folder) for parent in parents]
    first = opened[0]
    for other in opened[1:]:
        if other.shapes != first.shapes:
            raise InputError(f"{other.folder} is of another size than {first.folder}")
    shares = [parent.weight / total for parent in parents]
    writer = CheckpointWriter(out, first.raw_config, shard_bytes)
    for name in tqdm(first.names, desc="merge", unit="tensor"):
        # float32: a mean in bfloat16 would round each parent's part away.
        mean = torch.zeros(first.shapes[name], dtype=torch.float32)
        for share, parent in zip(shares, opened, strict=True):
            mean.add_(parent.read(name), alpha=share)
        writer.add(name, mean.to(first.dtype))
    facts = [{**provenance_of(p.folder), "weight": s} for p, s in zip(parents, shares, strict=True)]
    writer.close(first.folder, {"parents": facts})
