"""The `step-audio` lines that a document shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_BLOCK: Final = re.compile(r"^```sh\n(.*?)^```$|((?:^(?: {4}.*)?\n)+)", re.MULTILINE | re.DOTALL)
_COMMAND: Final = re.compile(r"^(?:[\w-]+\$ )?(?:[A-Z_0-9]+=\S+ )*(?:\.venv/bin/)?step-audio (.+)$")
_MODULE: Final = re.compile(r"^torchrun .*-m step_audio (.+)$")


def shown(page: Path) -> list[list[str]]:
    """Return the words behind `step-audio` of every command in a page's code blocks."""
    blocks = (block[0] or block[1] for block in _BLOCK.findall(page.read_text()))
    lines = (line for block in blocks for line in block.replace("\\\n", " ").splitlines())
    found = (_COMMAND.match(line.strip()) or _MODULE.match(line.strip()) for line in lines)
    return [shlex.split(_required(match[1]), comments=True) for match in found if match]


def _required(line: str) -> str:
    """Return a line without what stands in brackets."""
    return re.sub(r"\[[^]]*\]", "", line)
