"""Token shards: sequences of ids with a loss mask on disk, read without loading them whole.

    pack.json                what is inside: kind, vocabulary, counts, hash of the text tokenizer
    tokens-0000.safetensors  ids (N,) int32, mask (N,) uint8, offsets (S + 1,) int64
    tokens-0000.json         one [id, task] or [id, task, score] a sequence

A folder of kind "pairs" holds preferred and rejected answers: sequence 2i is the preferred one of
pair i, 2i + 1 the rejected one.
"""

from __future__ import annotations

import bisect
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from step_audio.core.errors import InputError
from step_audio.core.json_files import read_object
from step_audio.core.vocab import Vocab

Kind = Literal["sft", "pairs"]
PACK_FILE: Final = "pack.json"
SHARD_TOKENS: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class TokenSample:
    """One sequence: its ids, and a mask that is true where an id must be predicted.

    Attributes:
        score: how good the answer is, where a judge has said.
    """

    ids: Sequence[int]
    mask: Sequence[bool]
    task: str = ""
    id: str = ""
    score: float | None = None


class ShardWriter:
    """Writes a folder of shards; nothing is a pack until `close` has written `pack.json`."""

    def __init__(
        self, folder: Path, vocab: Vocab, kind: Kind = "sft", shard_tokens: int = SHARD_TOKENS
    ) -> None:
        self._folder, self._vocab, self._kind = folder, vocab, kind
        self._shard_tokens = shard_tokens
        self._waiting: list[TokenSample] = []
        self._tokens = self._shards = self._total = self._learned = 0
        self._tasks: Counter[str] = Counter()
        self._digest = hashlib.sha256()
        folder.mkdir(parents=True, exist_ok=True)
        for old in (*folder.glob("tokens-*"), folder / PACK_FILE):
            old.unlink(missing_ok=True)

    def add(self, sample: TokenSample) -> None:
        """Append a sequence. Raises InputError: empty, or a mask of another length."""
        if len(sample.ids) < 2 or len(sample.ids) != len(sample.mask):
            raise InputError(
                f"sample {sample.id!r} has {len(sample.ids)} ids and {len(sample.mask)} mask values"
            )
        self._waiting.append(sample)
        self._tokens += len(sample.ids)
        self._tasks[sample.task] += 1
        # A pair never spans two shards.
        if self._tokens >= self._shard_tokens and not (
            self._kind == "pairs" and len(self._waiting) % 2
        ):
            self._flush()

    def close(self, **facts: Any) -> None:
        """Write the last shard and `pack.json`, with further facts about the data."""
        if self._waiting:
            self._flush()
        pack = {
            "format": 1,
            "kind": self._kind,
            "sequences": sum(self._tasks.values()),
            "tokens": self._total,
            "learned_tokens": self._learned,
            "tasks": dict(sorted(self._tasks.items())),
            "sha256": self._digest.hexdigest(),
            "vocab": asdict(self._vocab),
            **facts,
        }
        (self._folder / PACK_FILE).write_text(json.dumps(pack, indent=1) + "\n", encoding="utf-8")

    def _flush(self) -> None:
        ids = np.concatenate([np.asarray(s.ids, dtype=np.int32) for s in self._waiting])
        mask = np.concatenate([np.asarray(s.mask, dtype=np.uint8) for s in self._waiting])
        offsets = np.cumsum([0, *(len(s.ids) for s in self._waiting)]).astype(np.int64)
        path = self._folder / f"tokens-{self._shards:04d}.safetensors"
        save_file({"ids": ids, "mask": mask, "offsets": offsets}, str(path))
        path.chmod(0o644)  # the library writes for the owner only
        rows = [[s.id, s.task, *([] if s.score is None else [s.score])] for s in self._waiting]
        path.with_suffix(".json").write_text(json.dumps(rows), encoding="utf-8")
        for array in (ids, mask, offsets):
            self._digest.update(array.tobytes())
        scores = [s.score for s in self._waiting if s.score is not None]
        self._digest.update(np.asarray(scores, np.float64).tobytes())
        self._total += len(ids)
        self._learned += int(mask.sum())
        self._waiting, self._tokens = [], 0
        self._shards += 1


class TokenShards:
    """The sequences of a folder, read one by one from disk.

    Raises:
        InputError: the folder holds no pack, or not what its `pack.json` says.
    """

    def __init__(self, folder: Path) -> None:
        pack = read_object(folder / PACK_FILE)
        try:
            self.kind: Kind = pack["kind"]
            self.vocab = Vocab(**pack["vocab"])
            self.sha256 = str(pack["sha256"])
            # Packs that a grammar fills without a profile have none.
            self.text_tokenizer = str(pack.get("text_tokenizer", ""))
            expected = int(pack["sequences"])
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{folder / PACK_FILE} is not written by this version") from None
        self.folder = folder
        self._files = [_Shard(path) for path in sorted(folder.glob("tokens-*.safetensors"))]
        self._starts = np.cumsum([0, *(len(file) for file in self._files)]).tolist()
        if not expected:
            raise InputError(
                f"{folder} is an empty pack; nothing was good enough for it. Give train reject a"
                " smaller --gap or --least, a higher --temperature, or more --questions"
            )
        if self._starts[-1] != expected:
            raise InputError(f"{folder} holds {self._starts[-1]} sequences, not {expected}")

    def __len__(self) -> int:
        return int(self._starts[-1])

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Ids of every sequence, (S,)."""
        return np.concatenate([np.diff(file.offsets) for file in self._files])

    def __getitem__(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return (ids, mask) of one sequence, (T,) each."""
        at = bisect.bisect_right(self._starts, index) - 1
        return self._files[at].read(index - self._starts[at])

    def rows(self) -> Iterable[tuple[str, str]]:
        """Yield (id, task) of every sequence."""
        for row in self._named():
            yield row[0], row[1]

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """Score of every sequence, (S,); NaN where no judge has said."""
        return np.array([row[2] if len(row) > 2 else np.nan for row in self._named()])

    def _named(self) -> Iterable[list[Any]]:
        for file in self._files:
            yield from json.loads(file.path.with_suffix(".json").read_text("utf-8"))


class _Shard:
    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            file: Any = safe_open(str(path), "np")
            self.offsets: NDArray[np.int64] = file.get_tensor("offsets")
            self._ids, self._mask = file.get_slice("ids"), file.get_slice("mask")
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path} cannot be read: {error}; pack again") from None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def read(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        start, end = int(self.offsets[index]), int(self.offsets[index + 1])
        return self._ids[start:end].astype(np.int64), self._mask[start:end].astype(bool)
