"""Our four import names are ours: `tokenizer` is also the name of a stranger's package."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from step_audio import cli
from step_audio.core.errors import InputError

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


def test_a_stranger_in_the_place_of_a_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.refuse_foreign_packages()
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "server")
    with pytest.raises(InputError, match="another package 'server'"):
        cli.refuse_foreign_packages()
    assert cli.main(["key", "anna"]) == 2
