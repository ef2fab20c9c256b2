"""The table in docs/models.md of what sentences on the published models stand on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from step_audio.cli.arguments import parser
from tests.docs.commands import PAGES, ROOT

MODELS: Final[Path] = ROOT / "docs" / "models.md"
HEADING: Final = "## What each sentence stands on"
ROW: Final = re.compile(r"^\| (?!said here|-)(.+) \| (.+) \|$", re.MULTILINE)


def plain(text: str) -> str:
    """Return text as one line."""
    return " ".join(text.split())


def rows() -> list[tuple[str, str]]:
    return ROW.findall(MODELS.read_text().partition(HEADING)[2])


@pytest.mark.parametrize(("said", "shown"), rows())
def test_a_claim_is_a_sentence_of_ours_and_shown_by_something_that_is_there(
    said: str, shown: str
) -> None:
    pages = (page.read_text().partition(HEADING)[0] for page in PAGES)
    assert said in plain(" ".join(pages)), "the sentence was changed: change its row too"
    commands = re.findall(r"`([^`]+)`", shown)
    assert commands or "never run" in shown
    for command in commands:
        name, *words = command.split()
        if name == "make":
            assert f"\n{words[0]}:" in (ROOT / "Makefile").read_text()
        elif name == "python":
            assert words[:2] == ["-m", "pytest"]
            assert all(exists(place) for place in words[2:]), command
        else:
            assert name == "step-audio", command
            parser().parse_args(words)


def exists(place: str) -> bool:
    """Return whether a file of tests is there, and the test in it."""
    file, _, test = place.partition("::")
    path = ROOT / file
    return path.is_file() and (not test or f"def {test}(" in path.read_text())


def test_what_needs_real_weights_says_that_nobody_ran_it() -> None:
    reckoned = [shown for _, shown in rows() if "reckons" in shown or "real weights" in shown]
    assert len(reckoned) >= 4
    assert all("never run" in shown for shown in reckoned)
