"""Write the Step1 of a larger checkpoint as a folder of its own, byte by byte, shard by shard."""

from __future__ import annotations

import json
import struct
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Final

from step_audio.core.errors import InputError, WeightsError
from step_audio.core.json_files import read_object
from step_audio.engine.sizes import CONFIG_KEYS
from step_audio.published.headers import INDEX_FILE, TensorFacts, read_headers
from step_audio.published.inspect import language_model
from step_audio.published.mapping import sizes_of

_BLOCK: Final = 1 << 24
_COPIED: Final = ("tokenizer.model", "tokenizer.json", "tokenizer_config.json")


def extract(source: Path, output: Path, progress: Callable[[int], None] = lambda _: None) -> int:
    """Write config, shards, index and text tokenizer of the LM; return its bytes.

    Args:
        source: a published folder that `inspect` understands.
        output: made where missing; must not hold weights yet.
        progress: told the bytes written since the last call.

    Raises:
        WeightsError: the folder cannot be placed. InputError: the output cannot be written.
    """
    found = language_model(source)
    tensors, _ = read_headers(source)
    if output.exists() and any(output.glob("*.safetensors")):
        raise InputError(f"{output} holds weights already; choose an empty folder")
    shards: dict[str, list[tuple[str, TensorFacts]]] = defaultdict(list)
    for name, there in found.names.items():
        shards[tensors[there].file].append((name, tensors[there]))
    try:
        output.mkdir(parents=True, exist_ok=True)
        index: dict[str, str] = {}
        total = 0
        for number, (file, members) in enumerate(sorted(shards.items()), 1):
            shard = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            total += _write(source / file, output / shard, members, progress)
            index |= dict.fromkeys((name for name, _ in members), shard)
        _write_json(output / INDEX_FILE, {"metadata": {"total_size": total}, "weight_map": index})
        _write_json(output / "config.json", _config(source))
        for name in _COPIED:
            if (source / name).is_file():
                (output / name).write_bytes((source / name).read_bytes())
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror or error}") from None
    return total


def _write(
    source: Path,
    output: Path,
    members: list[tuple[str, TensorFacts]],
    progress: Callable[[int], None],
) -> int:
    """Copy the tensors of one file under their new names; return their bytes."""
    header: dict[str, Any] = {}
    at = 0
    for name, facts in members:
        length = facts.end - facts.begin
        place = {"dtype": facts.dtype, "shape": facts.shape, "data_offsets": [at, at + length]}
        header[name] = place
        at += length
    packed = json.dumps(header).encode()
    packed += b" " * (-len(packed) % 8)
    part = output.with_suffix(".part")
    with source.open("rb") as read, part.open("wb") as write:
        write.write(struct.pack("<Q", len(packed)) + packed)
        for _, facts in members:
            read.seek(facts.begin)
            _copy(read, write, facts.end - facts.begin, progress)
    part.replace(output)
    return at


def _copy(read: BinaryIO, write: BinaryIO, length: int, progress: Callable[[int], None]) -> None:
    while length:
        block = read.read(min(_BLOCK, length))
        if not block:
            raise WeightsError("a shard became shorter while it was read; fetch it again")
        write.write(block)
        progress(len(block))
        length -= len(block)


def _config(source: Path) -> dict[str, Any]:
    """Return the `config.json` of the LM alone."""
    whole = read_object(source / "config.json", WeightsError)
    sizes = asdict(sizes_of(whole))
    sections = [whole, *(s for s in whole.values() if isinstance(s, dict))]
    inner = next(s for s in sections if all(key in s for key in CONFIG_KEYS.values()))
    kept = {key: value for key, value in inner.items() if not isinstance(value, dict)}
    kept |= {key: sizes[name] for name, key in CONFIG_KEYS.items()}
    return kept | {"model_type": "step1", "architectures": ["Step1ForCausalLM"]}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
