"""Checkpoints in the published layout, read and written a tensor at a time.

`config.json`, safetensors in one file or in shards with an index, the text tokenizer beside them.
A model of 130 billion parameters is never whole in one process.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from step_audio.core.errors import InputError, WeightsError
from step_audio.core.json_files import read_object
from step_audio.engine.int8 import SCALE_SUFFIX
from step_audio.engine.step1 import Step1Config
from step_audio.engine.text import BPE_FILE, SENTENCEPIECE_FILE
from step_audio.engine.weights import CONFIG_FILE, INDEX_FILE, WEIGHTS_FILE, expected_shapes

ADAPTER_CONFIG: Final = "adapter_config.json"
SHARD_BYTES: Final = 5 * 2**30
WHOLE_BYTES: Final = 2**30
_SLICES: Final = 64
_SLICE: Final = 2**16
GENERIC: Final = frozenset({"export", "lm", "best"})
"""Names of folders that every run has."""
BESIDE: Final = (
    BPE_FILE,
    SENTENCEPIECE_FILE,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
)
"""Files that travel with the weights; whatever else lies there is left behind."""

_TYPES: Final = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


class Checkpoint:
    """A folder of the published layout, opened: shapes are checked, tensors wait on disk.

    Raises:
        WeightsError: a file is missing or damaged, a name or shape differs from the config.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise WeightsError(f"no checkpoint at {folder}; give a folder with {CONFIG_FILE}")
        if (folder / ADAPTER_CONFIG).is_file() and not (folder / CONFIG_FILE).exists():
            raise WeightsError(f"{folder} holds adapters; merge them first: train merge-lora")
        self.folder = folder
        self.raw_config = read_object(folder / CONFIG_FILE, WeightsError)
        self.config = Step1Config.from_mapping(self.raw_config)
        self.shapes = expected_shapes(self.config)
        self._files: dict[str, Any] = {}
        for path in _files(folder):
            try:
                file: Any = safe_open(str(path), "pt")
            except (SafetensorError, OSError) as error:
                raise WeightsError(f"{path}: {error}; fetch it again") from None
            self._files.update(dict.fromkeys(file.keys(), file))
        self._check()

    @property
    def names(self) -> list[str]:
        """Names of all tensors, in the order of the layers."""
        return list(self.shapes)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the matrices; float32 for packed int8, which is unpacked when read."""
        name = self.names[1]
        return _TYPES.get(self._files[name].get_slice(name).get_dtype(), torch.float32)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Return rows `start` to `stop` of a tensor. Raises WeightsError: not finite."""
        rows: Tensor = self._files[name].get_slice(name)[start:stop]
        scale = self._files.get(name + SCALE_SUFFIX)
        if scale is not None:
            scales: Tensor = scale.get_slice(name + SCALE_SUFFIX)[start:stop]
            rows = rows.float() * scales.float().reshape(-1, *[1] * (rows.dim() - 1))
        if not bool(torch.isfinite(rows).all()):
            raise WeightsError(f"{self.folder}: {name} holds values that are not finite")
        return rows

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every tensor, one at a time."""
        for name in self.names:
            yield name, self.read(name)

    def _check(self) -> None:
        for name, shape in self.shapes.items():
            if name not in self._files:
                raise WeightsError(f"{self.folder}: tensor {name} is missing")
            found = tuple(self._files[name].get_slice(name).get_shape())
            if found != shape:
                raise WeightsError(
                    f"{self.folder}: {name} has shape {found}, the config asks for {shape}"
                )
        extra = {n for n in self._files if not n.endswith(SCALE_SUFFIX)} - set(self.shapes)
        if extra:
            raise WeightsError(f"{self.folder}: {min(extra)} is not a tensor of this config")


class CheckpointWriter:
    """Writes a folder of that layout as tensors come; in memory is one shard at most.

    Args:
        folder: made if missing; must not be one that is read meanwhile.
        config: `config.json` of the source, kept whole.
        shard_bytes: size of a file.
    """

    def __init__(
        self, folder: Path, config: Mapping[str, Any], shard_bytes: int = SHARD_BYTES
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._config, self._limit = folder, dict(config), shard_bytes
        self._waiting: dict[str, Tensor] = {}
        self._bytes = self._total = 0
        self._parts: list[tuple[Path, list[str]]] = []
        for old in (*folder.glob("model*.safetensors"), folder / INDEX_FILE):
            old.unlink(missing_ok=True)

    def add(self, name: str, tensor: Tensor) -> None:
        """Append a tensor; it is written as it is."""
        size = tensor.numel() * tensor.element_size()
        if self._waiting and self._bytes + size > self._limit:
            self._flush()
        self._waiting[name] = tensor.contiguous().clone()
        self._bytes += size

    def close(self, beside: Path, facts: Mapping[str, Any]) -> None:
        """Name the shards, write config, index and `training.json`, copy the text tokenizer.

        Args:
            beside: folder whose text tokenizer belongs to these weights.
            facts: provenance, for `training.json`.
        """
        self._flush()
        count = len(self._parts)
        where: dict[str, str] = {}
        for number, (part, names) in enumerate(self._parts, 1):
            name = WEIGHTS_FILE if count == 1 else f"model-{number:05d}-of-{count:05d}.safetensors"
            part.replace(self._folder / name)
            where.update(dict.fromkeys(names, name))
        if count > 1:
            index = {"metadata": {"total_size": self._total}, "weight_map": where}
            _write_json(self._folder / INDEX_FILE, index)
        _write_json(self._folder / CONFIG_FILE, self._config)
        _write_json(self._folder / "training.json", facts)
        for name in BESIDE:
            if (beside / name).is_file() and not (self._folder / name).exists():
                shutil.copyfile(beside / name, self._folder / name)

    def _flush(self) -> None:
        part = self._folder / f"part-{len(self._parts):05d}.tmp"
        save_file(self._waiting, part, metadata={"format": "pt"})
        part.chmod(0o644)  # the library writes for the owner only
        self._parts.append((part, list(self._waiting)))
        self._total += self._bytes
        self._waiting, self._bytes = {}, 0


def provenance(folder: Path) -> dict[str, Any]:
    """Return what identifies a checkpoint: its folder's name and a hash of config and weights.

    Up to 1 GB all bytes are hashed; beyond, slices spread over each file ("whole" is false).
    Training moves every matrix, so slices tell its results apart.
    """
    digest = hashlib.sha256()
    paths = [folder / CONFIG_FILE, *_files(folder)]
    whole = sum(path.stat().st_size for path in paths) <= WHOLE_BYTES
    for path in paths:
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            if whole:
                digest.update(hashlib.file_digest(file, "sha256").digest())
                continue
            for at in range(_SLICES):
                file.seek(max(0, size - _SLICE) * at // (_SLICES - 1))
                digest.update(file.read(_SLICE))
    return {"name": run_name(folder), "sha256": digest.hexdigest(), "whole": whole}


def run_name(folder: Path) -> str:
    """Return a folder's name; of one whose name says nothing, with that of the run before it."""
    path = folder.resolve()
    return f"{path.parent.name}/{path.name}" if path.name in GENERIC else path.name


def _files(folder: Path) -> list[Path]:
    if (folder / INDEX_FILE).is_file():
        shards = read_object(folder / INDEX_FILE, WeightsError).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise WeightsError(f"{folder / INDEX_FILE}: no weight_map")
        names = sorted({str(name) for name in shards.values()})
    else:
        names = [WEIGHTS_FILE]
    for name in names:
        # A name from outside must not lead out of the folder.
        if Path(name).name != name or not (folder / name).is_file():
            raise WeightsError(f"{folder} has no {name}; fetch the weights again")
    return [folder / name for name in names]


def new_folder(path: Path, *sources: Path) -> Path:
    """Return a folder to write to. Raises InputError: it is one of those that are read."""
    if any(path.resolve() == source.resolve() for source in sources):
        raise InputError(f"{path} is read from; write to another folder")
    return path


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
