"""Tables of a set: parquet, csv or jsonl to rows, and the columns by any of their known names."""

from __future__ import annotations

import ast
import csv
import io
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from step_audio.core.errors import InputError
from step_audio.eval.sets.files import SetFiles, lines_of
from step_audio.eval.sets.items import Item, LoadedSet, RecordingMissing, RowBroken, Sound

Row = Mapping[str, Any]
ENDINGS = (".parquet", ".csv", ".jsonl")


@dataclass(slots=True)
class Table:
    """Rows of one file with their places, and lines that are no rows."""

    name: str
    rows: list[tuple[str, Row]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def column(self, what: str, names: Sequence[str]) -> str:
        """Return which of the known names the table has.

        Raises:
            InputError: none of them; the message lists those that are there.
        """
        found = self.optional(names)
        if found is None:
            there = dict.fromkeys(str(key) for _, row in self.rows for key in row)
            raise InputError(
                f"{self.name}: no column for {what} (known: {', '.join(names)}) among"
                f" {', '.join(there) or 'none'}"
            )
        return found

    def optional(self, names: Sequence[str]) -> str | None:
        """Return which of the known names the table has, None for none of them."""
        return next((name for name in names if any(name in row for _, row in self.rows)), None)

    def items(self, make: Callable[[Row, int], Item]) -> LoadedSet:
        """Return the items of all rows; rows of which none can be made are counted as broken."""
        loaded = LoadedSet(broken=list(self.broken))
        for at, (place, row) in enumerate(self.rows):
            try:
                loaded.items.append(make(row, at))
            except RowBroken as error:
                loaded.broken.append(f"{place}: {error}")
        return loaded


def read_table(files: SetFiles, name: str) -> Table:
    """Return a table by its ending. Raises InputError: not readable, or pyarrow is missing."""
    if name.endswith(".parquet"):
        return _parquet(files, name)
    table = Table(name)
    if name.endswith(".csv"):
        try:
            for at, row in enumerate(csv.DictReader(io.StringIO(files.text(name))), 2):
                if None in row or None in row.values():
                    table.broken.append(f"{name}, row {at}: not as many cells as columns")
                else:
                    table.rows.append((f"{name}, row {at}", row))
        except csv.Error as error:
            raise InputError(f"{name} is not a csv file: {error}") from None
        return table
    for at, line in lines_of(files.text(name)):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            table.rows.append((f"{name}, line {at}", value))
        else:
            table.broken.append(f"{name}, line {at}: not a JSON object")
    return table


def text_of(row: Row, column: str | None, *, required: bool = False) -> str:
    """Return a cell as text, "" for none. Raises RowBroken: it is required."""
    value = row.get(column) if column is not None else None
    text = "" if value is None else str(value).strip()
    if required and not text:
        raise RowBroken(f"{column} is empty")
    return text


def texts_of(row: Row, column: str | None) -> tuple[str, ...]:
    """Return a cell as one or more texts: a list, a list written as JSON or Python, or a text."""
    value = row.get(column) if column is not None else None
    if isinstance(value, str) and value.strip().startswith("["):
        for parse in (json.loads, ast.literal_eval):
            try:
                value = parse(value)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            break
    if isinstance(value, str) or not isinstance(value, Sequence):
        value = [] if value is None else [value]
    return tuple(dict.fromkeys(str(one).strip() for one in value if str(one).strip()))


def sound_of(files: SetFiles, table: str, row: Row, column: str) -> Sound:
    """Return the recording of a cell: kept within the table, or named there.

    Raises:
        RowBroken: the cell names none.
    """
    value = row.get(column)
    if isinstance(value, Sound):
        return value
    if isinstance(value, Mapping):
        value = value.get("path")
    if not isinstance(value, str) or not value.strip():
        raise RowBroken(f"{column} names no recording")
    return files.sound(value.strip(), table)


def _parquet(files: SetFiles, name: str) -> Table:
    try:
        import pyarrow  # noqa: PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise InputError(
            "parquet needs the package pyarrow: pip install 'step-audio[eval]'"
        ) from None
    path = files.path(name)
    try:
        file = parquet.ParquetFile(path or pyarrow.BufferReader(files.read(name)))
        within = [column.name for column in file.schema_arrow if _is_sound(pyarrow, column.type)]
        plain = [column for column in file.schema_arrow.names if column not in within]
        rows = file.read(columns=plain).to_pylist() if plain else [{}] * file.metadata.num_rows
        groups = _RowGroups(file)
        table = Table(name)
        for at, row in enumerate(rows):
            sounds = {
                column: Sound(f"{name}, row {at}", partial(groups.fetch, column, at))
                for column in within
            }
            table.rows.append((f"{name}, row {at}", {**row, **sounds}))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read: {error}; fetch it again") from None
    return table


def _is_sound(pyarrow: Any, kind: Any) -> bool:
    """Whether a column holds files: the hub's form of sound is {bytes, path}."""
    return bool(pyarrow.types.is_struct(kind)) and kind.get_field_index("bytes") >= 0


class _RowGroups:
    """Sounds within a parquet file, one group of rows in memory at a time."""

    def __init__(self, file: Any) -> None:
        self._file, self._lock = file, threading.Lock()
        self._kept: tuple[str, int, list[Any]] = ("", -1, [])
        sizes = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
        self._place = [(g, at) for g, size in enumerate(sizes) for at in range(size)]

    def fetch(self, column: str, row: int) -> bytes:
        """Return the bytes of one cell. Raises RecordingMissing."""
        group, at = self._place[row]
        with self._lock:
            if self._kept[:2] != (column, group):
                cells = self._file.read_row_group(group, columns=[column]).column(0).to_pylist()
                self._kept = (column, group, cells)
            cell = self._kept[2][at]
        data = cell.get("bytes") if isinstance(cell, Mapping) else None
        if not data:
            raise RecordingMissing(f"{column} of row {row}")
        return bytes(data)
