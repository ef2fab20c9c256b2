"""The committed goldens are reproduced; a folder that differs, or lacks something, is seen."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.golden_checks import linguistic, packing
from tests.golden_checks.__main__ import COMPONENTS, DEFAULT, main
from tests.golden_checks.component import Component, Errors, check, differing, gap


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: c.name)
def test_the_reference_is_reproduced(component: Component) -> None:
    outcome = check(component, DEFAULT)
    assert outcome.passed, str(outcome)


def test_one_wrong_number_is_seen_and_the_rest_still_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "golden"
    for section in ("sampling", "token_packing"):
        shutil.copytree(DEFAULT / section, folder / section)
    path = folder / "token_packing" / "preprocess.safetensors"
    arrays = load_file(path)
    changed = next(name for name in arrays if name.endswith(".trimmed"))
    arrays[changed][7] += 1e-3
    save_file(arrays, path)
    assert main([str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(COMPONENTS) + 1
    told = {line.split(": ", 2)[1]: line[:4] for line in lines[:-1] if "packing: " in line}
    assert told["trimming"] == "FAIL"
    assert told["level"] == "ok  "
    assert any("sampling: repetition aware: 27 cases" in line for line in lines)


def test_a_folder_with_other_clips_is_taken_as_it_is(tmp_path: Path) -> None:
    shutil.copytree(DEFAULT / "linguistic_tokenizer", tmp_path / "linguistic_tokenizer")
    path = tmp_path / "linguistic_tokenizer" / "data.safetensors"
    arrays = {k.replace("en_1", "x"): v for k, v in load_file(path).items() if "en_2" not in k}
    save_file(arrays, path)
    codes = next(c for c in linguistic.COMPONENTS if c.name == "linguistic: codes")
    outcome = check(codes, tmp_path)
    assert outcome.passed
    assert outcome.cases == 2 * 3


def test_a_folder_without_goldens_fails_every_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.count("FAIL") == len(COMPONENTS)
    assert main([str(tmp_path / "missing")]) == 2


def test_nan_and_nothing_to_compare_do_not_pass() -> None:
    def nan(folder: Path) -> Errors:
        yield "a", float("nan")
        yield "b", 0.0

    assert not check(Component("nan", 1.0, nan), DEFAULT).passed
    assert not check(Component("nothing", 1.0, lambda folder: iter(())), DEFAULT).passed


def test_shapes_that_differ_are_infinitely_far_apart() -> None:
    assert gap(np.zeros(3), np.zeros(4)) == float("inf")
    assert gap(np.zeros(0), np.zeros(0)) == 0
    assert differing([1, 2, 3], [1, 5]) == 2


def test_prompts_are_named_as_recorded() -> None:
    component = next(c for c in packing.COMPONENTS if c.name == "packing: system prompts")
    assert check(component, DEFAULT).cases == len(packing.PROMPTS)
