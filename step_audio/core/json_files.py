"""Small JSON files from outside: read with a limit, token groups checked."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from step_audio.core.errors import InputError
from step_audio.core.types import TokenGroup
from step_audio.core.vocab import LINGUISTIC_SIZE, SEMANTIC_SIZE

MAX_BYTES: Final = 4 << 20
_SIZES: Final = (LINGUISTIC_SIZE,) * 2 + (SEMANTIC_SIZE,) * 3


def read_object(
    path: Path, error: type[InputError] = InputError, *, max_bytes: int = MAX_BYTES
) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        InputError (or the given kind): missing, larger than `max_bytes`, or not a JSON object.
    """
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise error(f"{path} is larger than {max_bytes} bytes")
        value = json.loads(content)
    except OSError as reason:
        raise error(f"cannot read {path}: {reason.strerror}") from None
    except (ValueError, RecursionError):
        raise error(f"{path} is not JSON") from None
    if not isinstance(value, dict):
        raise error(f"{path} is not a JSON object")
    return value


def groups_to_lists(groups: Iterable[TokenGroup]) -> list[list[int]]:
    """Return each group as its 5 codes, linguistic first."""
    return [[*group.linguistic, *group.semantic] for group in groups]


def groups_from_lists(raw: object) -> tuple[TokenGroup, ...]:
    """Return the groups of `[[l, l, s, s, s], ...]`.

    Raises:
        InputError: of another shape, or a code outside its codebook.
    """
    if not isinstance(raw, list):
        raise InputError("groups must be a list of lists of 5 codes")
    return tuple(_group(at, codes) for at, codes in enumerate(raw))


def _group(at: int, codes: object) -> TokenGroup:
    match codes:
        case [int(a), int(b), int(c), int(d), int(e)]:
            pairs = zip((a, b, c, d, e), _SIZES, strict=True)
            if all(type(code) is int and 0 <= code < size for code, size in pairs):
                return TokenGroup((a, b), (c, d, e))
    raise InputError(
        f"group {at} must be 2 codes in 0..{LINGUISTIC_SIZE - 1}, then 3 in 0..{SEMANTIC_SIZE - 1}"
    )
