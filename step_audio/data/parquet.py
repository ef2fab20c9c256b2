"""Packs as parquet and back: what `datasets.load_dataset("parquet", ...)` and others read.

Columns of sequences: `id`, `task`, `input_ids` (list of int32), `mask` (list of bool). Columns of
pairs: `id`, `task`, `chosen_input_ids`, `chosen_mask`, `rejected_input_ids`, `rejected_mask`,
`chosen_score` and `rejected_score` (null where no judge has said), and `prompt`, `chosen`,
`rejected`, which are empty: TRL tokenises text columns, whatever its collator reads. The facts of
`pack.json` are in the file's own metadata, under `step_audio.pack`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from step_audio.core.errors import InputError
from step_audio.core.json_files import read_object
from step_audio.core.vocab import Vocab
from step_audio.data.shards import PACK_FILE, ShardWriter, TokenSample, TokenShards

FACTS: Final = b"step_audio.pack"
ROW_GROUP: Final = 1000
_COUNTED: Final = ("format", "sequences", "tokens", "learned_tokens", "tasks", "sha256")
_IDS, _MASK = pa.list_(pa.int32()), pa.list_(pa.bool_())
_NAMES: Final = [("id", pa.string()), ("task", pa.string())]
_SEQUENCE: Final = pa.schema([*_NAMES, ("input_ids", _IDS), ("mask", _MASK)])
_PAIR: Final = pa.schema(
    [
        *_NAMES,
        *((name, pa.string()) for name in ("prompt", "chosen", "rejected")),
        *(("chosen_input_ids", _IDS), ("chosen_mask", _MASK)),
        *(("rejected_input_ids", _IDS), ("rejected_mask", _MASK)),
        *(("chosen_score", pa.float64()), ("rejected_score", pa.float64())),
    ]
)


def write_parquet(pack: Path, out: Path) -> int:
    """Write a pack as one file; return the number of rows.

    Raises:
        InputError: no such pack.
    """
    shards = TokenShards(pack)
    facts = read_object(pack / PACK_FILE)
    plain = _PAIR if shards.kind == "pairs" else _SEQUENCE
    schema = plain.with_metadata({FACTS: json.dumps(facts)})
    out.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    temporary = out.with_name(out.name + ".tmp")
    with pq.ParquetWriter(temporary, schema) as writer:
        block: list[dict[str, Any]] = []
        for row in _rows(shards):
            block.append(row)
            if len(block) == ROW_GROUP:
                writer.write_table(pa.Table.from_pylist(block, schema))
                count, block = count + len(block), []
        if block:
            writer.write_table(pa.Table.from_pylist(block, schema))
            count += len(block)
    temporary.replace(out)
    return count


def read_parquet(path: Path, out: Path, vocab: Vocab | None = None) -> int:
    """Write the pack of a file; return the number of sequences.

    Args:
        vocab: of the ids, where the file does not say.

    Raises:
        InputError: not such a file, ids outside the vocabulary, or no word on the vocabulary.
    """
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as parquet: {error}") from None
    names = set(file.schema_arrow.names)
    sides = ("",) if "input_ids" in names else ("chosen_", "rejected_")
    missing = {f"{side}{what}" for side in sides for what in ("input_ids", "mask")} - names
    if missing:
        raise InputError(
            f"{path} has no column {min(missing)}; columns are input_ids and mask of sequences,"
            " chosen_input_ids, chosen_mask, rejected_input_ids and rejected_mask of pairs"
        )
    facts = _facts(path, file)
    if vocab is None:
        if not isinstance(facts.get("vocab"), dict):
            raise InputError(f"{path} does not say which vocabulary its ids are of; give --profile")
        try:
            vocab = Vocab(**facts["vocab"])
        except TypeError as error:
            raise InputError(f"{path}: {error}") from None
    writer = ShardWriter(out, vocab, "sft" if len(sides) == 1 else "pairs")
    count = 0
    for batch in file.iter_batches(ROW_GROUP):
        for row in batch.to_pylist():
            for side in sides:
                ids, mask = row[f"{side}input_ids"], row[f"{side}mask"]
                if not ids or not mask or min(ids) < 0 or max(ids) >= vocab.size:
                    raise InputError(
                        f"{path}: row {count} is empty or has ids outside 0..{vocab.size - 1}"
                    )
                known = str(row.get("id") or f"row-{count}")
                score = row.get(f"{side}score") if side else None
                writer.add(TokenSample(ids, mask, str(row.get("task") or ""), known, score))
                count += 1
    kept = {k: v for k, v in facts.items() if k not in (*_COUNTED, "kind", "vocab")}
    writer.close(**kept)
    return count


def _facts(path: Path, file: Any) -> dict[str, Any]:
    """Return what the file says of the pack it came from, {} for nothing."""
    written = (file.schema_arrow.metadata or {}).get(FACTS, b"{}")
    try:
        facts = json.loads(written)
    except ValueError:
        facts = None
    if not isinstance(facts, dict):
        raise InputError(f"{path}: its facts are damaged; write it again")
    return facts


def _rows(shards: TokenShards) -> Iterator[dict[str, Any]]:
    """Yield one row a sequence or pair."""
    names = list(shards.rows())
    if shards.kind != "pairs":
        for at, (name, task) in enumerate(names):
            ids, mask = shards[at]
            yield {"id": name, "task": task, "input_ids": ids, "mask": mask}
        return
    empty = {"prompt": "", "chosen": "", "rejected": ""}
    scores = [None if math.isnan(score) else float(score) for score in shards.scores]
    for at in range(0, len(names), 2):
        (better, chosen), (worse, rejected) = shards[at], shards[at + 1]
        yield {
            **empty,
            **{"id": names[at][0], "task": names[at][1]},
            **{"chosen_input_ids": better, "chosen_mask": chosen},
            **{"rejected_input_ids": worse, "rejected_mask": rejected},
            **{"chosen_score": scores[at], "rejected_score": scores[at + 1]},
        }
