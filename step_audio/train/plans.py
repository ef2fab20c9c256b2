"""What a piece of work depends on, kept beside its results: it goes on only as it was begun."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from step_audio.core.errors import InputError
from step_audio.core.json_files import read_object

PLAN_FILE: Final = "plan.json"


def planned(out: Path) -> dict[str, Any]:
    """Return the plan of the work that was begun in a folder, {} for none."""
    path = out / PLAN_FILE
    return read_object(path) if path.is_file() else {}


def check_plan(out: Path, plan: Mapping[str, Any]) -> bool:
    """Return whether work was begun in a folder, under this plan.

    Raises:
        InputError: it was begun under another one; the message names what differs.
    """
    before, now = planned(out), _as_kept(plan)
    changed = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    if before and changed:
        raise InputError(
            f"{out} holds a run with other values of {', '.join(changed)};"
            " go on with the same, or give another --out"
        )
    return bool(before)


def keep_plan(out: Path, plan: Mapping[str, Any]) -> None:
    """Write the plan of work that begins. Raises InputError: see `check_plan`."""
    if not check_plan(out, plan):
        out.mkdir(parents=True, exist_ok=True)
        (out / PLAN_FILE).write_text(json.dumps(_as_kept(plan), indent=1) + "\n", encoding="utf-8")


def _as_kept(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plan as it comes back from its file: tuples are lists there."""
    kept: dict[str, Any] = json.loads(json.dumps(dict(plan)))
    return kept
