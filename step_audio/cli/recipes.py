"""Recipes: the flags of a training as YAML. `--recipe FILE` reads one, `--print-recipe` writes one.

Keys are the flags without their dashes (`batch-tokens: 8192`); flags on the command line win.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from step_audio.core.errors import InputError

MAX_BYTES: Final = 65536
_NOT_KEPT: Final = frozenset({"help", "recipe", "print_recipe"})


def add_recipe(command: argparse.ArgumentParser) -> None:
    """Add both flags to a command; call it last."""
    command.add_argument(
        "--recipe", type=Path, action=_Read, metavar="FILE", help="YAML of these flags"
    )
    command.add_argument(
        "--print-recipe", nargs=0, action=_Print, help="print all flags as YAML, and end"
    )


def with_recipe(argv: Sequence[str]) -> list[str]:
    """Return the arguments with those of `--recipe FILE` in front of them, behind the command.

    Raises:
        InputError: the file cannot be read or is no recipe.
    """
    words = list(argv)
    if words[:1] != ["train"] or "--recipe" not in words[2:]:
        return words
    at = words.index("--recipe", 2)
    if at + 1 == len(words):
        return words  # argparse says what is missing
    return [*words[:2], *_flags(Path(words[at + 1])), *words[2:]]


def _flags(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            raw: Any = yaml.safe_load(file.read(MAX_BYTES))
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read the recipe {path}: {error}") from None
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise InputError(f"{path} is no recipe; train sft --print-recipe shows one")
    flags: list[str] = []
    for key, value in raw.items():
        name = key.replace("_", "-")
        if value is None:
            continue
        if isinstance(value, bool):
            flags.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, int | float | str):
            flags.append(f"--{name}={value}")
        else:
            raise InputError(f"{path}: {key} is not one value")
    return flags


class _Read(argparse.Action):
    """Notes the file; `with_recipe` has read it."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, values)


class _Print(argparse.Action):
    """Prints every flag with its value and ends."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        print(recipe_text(parser, namespace), end="")
        parser.exit()


def recipe_text(parser: argparse.ArgumentParser, values: argparse.Namespace) -> str:
    """Return the recipe of a command: every flag, its value or default, and what it is."""
    lines = [f"# step-audio {parser.prog.partition(' ')[2]} --recipe THIS_FILE"]
    for action in parser._actions:
        if action.dest in _NOT_KEPT or not action.option_strings:
            continue
        value = getattr(values, action.dest, action.default)
        name = action.option_strings[0].removeprefix("--")
        shown = yaml.safe_dump(str(value) if isinstance(value, Path) else value, width=1000)
        shown = shown.removesuffix("\n").removesuffix("\n...")
        about = f"  # {action.help}" if action.help else ""
        if action.required and value is None:
            lines.append(f"{name}: null{about} (needed)")
        else:
            lines.append(f"{name}: {shown}{about}")
    return "\n".join(lines) + "\n"
