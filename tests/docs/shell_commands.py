"""Every shell command that README and the documents show, with what it needs to be run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.docs.commands import PAGES, ROOT

SHOWN_PAGES: Final = (*PAGES, ROOT / "CONTRIBUTING.md")

PROGRAMS: Final = frozenset(
    [
        *("step-audio", "make", "curl", "docker", "kubectl", "sudo", "git", "openssl", "torchrun"),
        *("pip", "python", "python3", "python3.11", "python3.12", "engine/bin/pip", "uv", "npm"),
        *("ray", "ollama", "llama-server", "vllm", "export", "cp", "mkdir", "cd", "tensorboard"),
    ]
)
"""Programs whose lines are commands; lines in blocks without a language are often no commands."""

_PROMPT: Final = re.compile(r"^(?:[\w-]+\$ |\$ )")
_ASSIGNED: Final = re.compile(r"^(?:[A-Z][A-Z_0-9]*=(?:'[^']*'|\"[^\"]*\"|\S+) +)+")
_COMMENT: Final = re.compile(r"(?:^|(?<=\s))#\s.*$")


@dataclass(frozen=True, slots=True)
class ShownCommand:
    """A command in a document: the page, the line where it begins, its text in one line, and what
    the page says that it needs (`<!-- needs: a GPU -->` before its block), "" for nothing."""

    page: str
    line: int
    text: str
    needs: str = ""

    @property
    def program(self) -> str:
        """Return the first word behind what is set for it, without the path of the environment."""
        words = _ASSIGNED.sub("", _PROMPT.sub("", self.text)).split()
        return words[0].removeprefix(".venv/bin/") if words else ""


def commands_of(page: str, text: str) -> Iterator[ShownCommand]:
    """Yield the commands in the code blocks of a page, in their order."""
    for line, block, language, needs in _blocks(text):
        for at, row in _joined(block):
            command = ShownCommand(page, line + at, row, needs)
            if language in ("sh", "bash", "shell", "console") or command.program in PROGRAMS:
                yield command


def all_commands() -> list[ShownCommand]:
    """Return the commands of all pages."""
    return [
        command
        for page in SHOWN_PAGES
        for command in commands_of(_name(page), page.read_text(encoding="utf-8"))
    ]


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _blocks(text: str) -> Iterator[tuple[int, list[str], str, str]]:
    """Yield line number, lines, language and need of each block, fenced or indented."""
    lines, needs, at = text.splitlines(), "", 0
    while at < len(lines):
        row = lines[at]
        if marked := re.fullmatch(r"<!-- needs: (.+) -->", row.strip()):
            needs = marked[1]
        elif opened := re.match(r"^( *)```(\w*)\s*$", row):
            end = at + 1
            while end < len(lines) and lines[end].strip() != "```":
                end += 1
            yield at + 2, lines[at + 1 : end], opened[2], needs
            at, needs = end, ""
        elif row.startswith("    ") and (at == 0 or not lines[at - 1].strip()):
            end = at
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            yield at + 1, lines[at:end], "", needs
            at, needs = end - 1, ""
        elif row.strip():
            needs = ""
        at += 1


def _joined(block: list[str]) -> Iterator[tuple[int, str]]:
    """Yield the commands of a block with the number of their first line: continued lines and open
    quotes are joined, comments and output left out."""
    whole, first = "", 0
    for at, row in enumerate(block):
        if not whole:
            first = at
        part = row.strip() if _open(whole) else _COMMENT.sub("", row).strip()
        continued = part.endswith("\\")
        part = part.rstrip("\\").strip()
        whole = f"{whole} {part}".strip() if whole else part
        if continued or _open(whole):
            continue
        if whole:
            yield first, whole
        whole = ""
    if whole:
        yield first, whole


def _open(text: str) -> bool:
    """Return whether a quote of a text goes on in the next line."""
    try:
        shlex.split(text)
    except ValueError as why:
        return "quotation" in str(why)
    return False
