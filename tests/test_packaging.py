"""Our four import names are ours: `tokenizer` is also the name of a stranger's package."""

from __future__ import annotations

import importlib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES = ("step_audio", "tokenizer", "vocoder", "server")


@pytest.mark.parametrize("name", NAMES)
def test_the_name_resolves_inside_this_repository(name: str) -> None:
    file = importlib.import_module(name).__file__
    assert file is not None
    assert Path(file).is_relative_to(ROOT)


@pytest.mark.parametrize("name", NAMES)
def test_no_other_distribution_owns_the_name(name: str) -> None:
    owners = set(packages_distributions().get(name, []))
    assert owners <= {"step-audio"}, f"{name} is also installed by {owners - {'step-audio'}}"
