"""System prompts by name: the files of `step_audio/prompts`; ORIGIN.md there says whose."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

from step_audio.core.errors import ProfileError

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@cache
def load_prompt(name: str) -> str:
    """Return the prompt `name`, exactly as stored. Raises ProfileError: no such prompt."""
    folder = resources.files("step_audio") / "prompts"
    file = folder / f"{name}.txt"
    # The pattern keeps a name from a profile from walking out of the folder.
    if not _NAME.fullmatch(name) or not file.is_file():
        known = sorted(f.name[:-4] for f in folder.iterdir() if f.name.endswith(".txt"))
        raise ProfileError(f"no system prompt {name!r}; available: {', '.join(known)}")
    return file.read_text(encoding="utf-8")
