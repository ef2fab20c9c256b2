"""What somebody finds who wants to take part, or to report something."""

from __future__ import annotations

import re

import pytest
import yaml

from step_audio.core import ports
from tests.ci.targets import ALWAYS
from tests.docs.commands import ROOT

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_what_contributors_look_for_is_there() -> None:
    assert len(CONTRIBUTING.splitlines()) <= 100, "one page"
    for heading in ("Set up", "Where things live", "Which tests", "Extension points"):
        assert f"\n## {heading}\n" in CONTRIBUTING
    security = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "SECURITY-CONTACT" in security, "a field for the maintainer's address"
    conduct = (ROOT / "CODE_OF_CONDUCT.md").read_text(encoding="utf-8")
    assert "SECURITY.md" in conduct, "to whom one may write"
    for page in (CONTRIBUTING, security, conduct):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", page):
            assert (ROOT / target).exists(), target


def test_places_that_the_page_names_are_there() -> None:
    named = re.findall(r"`([\w./-]+/[\w./-]*)`", CONTRIBUTING)
    assert len(named) > 15
    for path in named:
        assert (ROOT / path).exists(), path
    table = CONTRIBUTING.partition("## Extension points")[2]
    for protocol in re.findall(r"`([A-Z]\w+)`", table):
        assert hasattr(ports, protocol), protocol


@pytest.mark.parametrize("name", ["fault.md", "wish.md"])
def test_a_template_of_an_issue_has_a_name_and_what_it_is_for(name: str) -> None:
    text = (ROOT / ".github/ISSUE_TEMPLATE" / name).read_text(encoding="utf-8")
    _, head, body = text.split("---\n", 2)
    assert {"name", "about"} <= yaml.safe_load(head).keys()
    assert body.count("**") >= 6, "at least three things are asked"


def test_a_change_is_asked_for_its_test_and_its_documents() -> None:
    text = (ROOT / ".github/pull_request_template.md").read_text(encoding="utf-8")
    for word in ("test", "make test", "CHANGELOG", "CONTRIBUTING.md"):
        assert word in text


def test_the_package_is_built_and_checked_wherever_ci_runs() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\ntest-package:")[2].partition("\n\n")[0]
    assert "-m build" in recipe
    assert "twine check --strict" in recipe
    assert "test-package" in {target.name for target in ALWAYS}
