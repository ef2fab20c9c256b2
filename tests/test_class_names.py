"""The check of class names, on this tree and on a planted pair."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.class_names import main, shared_names


def test_no_two_classes_of_the_product_share_a_name() -> None:
    assert shared_names(Path(__file__).parents[1]) == {}


@pytest.mark.parametrize(
    "second", ["class _Turn: ...\n", "class Other:\n    class _Turn: ...\n"], ids=["top", "inside"]
)
def test_a_planted_pair_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], second: str
) -> None:
    for name, text in {"server/a.py": "class _Turn: ...\n", "vocoder/b/c.py": second}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    assert main(tmp_path) == 1
    line = 2 if "Other" in second else 1
    said = f"class _Turn is defined 2 times: server/a.py:1, vocoder/b/c.py:{line}\n"
    assert capsys.readouterr().err == said
