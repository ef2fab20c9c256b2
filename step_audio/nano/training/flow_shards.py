"""Codes with their mel on disk: what the flow decoder learns from.

A folder holds `embeddings.safetensors` (speaker name -> (192,) float32) and any number of shards.
A shard is `NAME.safetensors` with the arrays of all its items end to end (`codes` int16 (G, 5),
`mel` float16 (T, 80), `code_offsets` and `mel_offsets` int64 (items + 1,)) and `NAME.json` with the
speaker of each item, in the same order.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from step_audio.core.errors import InputError
from step_audio.core.types import SPEAKER_SIZE

MEL_BANDS = 80
EMBEDDINGS = "embeddings.safetensors"


@dataclass(frozen=True, slots=True)
class FlowItem:
    """One utterance.

    Attributes:
        speaker: key into the folder's embeddings.
        codes: (G, 5) int16, 2 linguistic then 3 semantic codes a row, without offsets.
        mel: log-mel of the same sound, (T, 80) float16; row 0 is where group 0 begins.
    """

    speaker: str
    codes: NDArray[np.int16]
    mel: NDArray[np.float16]


def write_flow_shard(path: Path, items: Sequence[FlowItem]) -> None:
    """Write `path` (ends in .safetensors) and the .json beside it, atomically.

    Raises:
        InputError: an item's arrays are not of the shapes above.
    """
    for item in items:
        if item.codes.shape[1:] != (5,) or item.mel.shape[1:] != (MEL_BANDS,):
            raise InputError(f"codes {item.codes.shape}, mel {item.mel.shape}: not an item")
    path.parent.mkdir(parents=True, exist_ok=True)
    codes = [item.codes.astype(np.int16) for item in items]
    mels = [item.mel.astype(np.float16) for item in items]
    arrays = {
        "codes": np.concatenate([np.zeros((0, 5), np.int16), *codes]),
        "mel": np.concatenate([np.zeros((0, MEL_BANDS), np.float16), *mels]),
        "code_offsets": np.cumsum([0, *map(len, codes)]).astype(np.int64),
        "mel_offsets": np.cumsum([0, *map(len, mels)]).astype(np.int64),
    }
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps([item.speaker for item in items]), encoding="utf-8")
    os.replace(partial, path.with_suffix(".json"))
    save_file(arrays, str(partial))
    os.replace(partial, path)


def read_flow_shard(path: Path) -> list[FlowItem]:
    """Read what `write_flow_shard` wrote.

    Raises:
        InputError: missing, truncated, or not such a shard.
    """
    try:
        arrays = load_file(str(path))
        speakers = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        codes, mel = arrays["codes"], arrays["mel"]
        at, mel_at = arrays["code_offsets"], arrays["mel_offsets"]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(f"{path} is not a flow shard: {error}; prepare it again") from error
    if len(at) != len(speakers) + 1 or len(mel_at) != len(at):
        raise InputError(f"{path}: offsets and speakers do not match; prepare it again")
    return [
        FlowItem(speaker, codes[at[i] : at[i + 1]], mel[mel_at[i] : mel_at[i + 1]])
        for i, speaker in enumerate(speakers)
    ]


def write_embeddings(folder: Path, embeddings: Mapping[str, NDArray[np.float32]]) -> None:
    """Write the speaker vectors of a folder of shards, (192,) each."""
    folder.mkdir(parents=True, exist_ok=True)
    vectors = {name: v.astype(np.float32) for name, v in embeddings.items()}
    save_file(vectors, str(folder / EMBEDDINGS))


def read_embeddings(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Return the speaker vectors of a folder of shards.

    Raises:
        InputError: missing, or not (192,) each.
    """
    path = folder / EMBEDDINGS
    try:
        vectors = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read: {error}; prepare the folder again") from error
    if any(v.shape != (SPEAKER_SIZE,) for v in vectors.values()):
        raise InputError(f"{path}: every speaker vector must have {SPEAKER_SIZE} numbers")
    return vectors


def read_flow_folder(folder: Path) -> tuple[list[FlowItem], dict[str, NDArray[np.float32]]]:
    """Return all items of a folder, in the order of the shards' names, and its speaker vectors.

    Raises:
        InputError: no shards, a bad shard, or a speaker without a vector.
    """
    embeddings = read_embeddings(folder)
    shards = sorted(p for p in folder.glob("*.safetensors") if p.name != EMBEDDINGS)
    items = [item for shard in shards for item in read_flow_shard(shard)]
    if not items:
        raise InputError(
            f"{folder} holds no flow shards; prepare it with step_audio.nano.training.flow_data"
        )
    unknown = {item.speaker for item in items} - embeddings.keys()
    if unknown:
        raise InputError(f"{folder}: no speaker vector for {sorted(unknown)[:3]}")
    return items, embeddings
