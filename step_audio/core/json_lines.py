"""Files of one JSON object a line: appended to while work goes on, read again after a cut-off."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from step_audio.core.errors import InputError


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file, none when it is missing; an unfinished last line is left out.

    Raises:
        InputError: a whole line is not a JSON object.
    """
    if not path.is_file():
        return []
    text = path.read_bytes()
    rows = []
    for number, line in enumerate(text[: text.rfind(b"\n") + 1].splitlines(), 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: not a JSON object")
        rows.append(row)
    return rows


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a whole file; `path` is either the old one or the new one, never half."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.writelines(_line(row) for row in rows)
    part.replace(path)


class RowWriter:
    """Appends rows, each on disk before the next; threads may share it.

    What a cut-off left of a last line is removed first.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one row."""
        with self._lock:
            self._file.write(_line(row))
            self._file.flush()

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
