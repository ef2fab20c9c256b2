"""What operations.md shows of the log is what six real failures write there."""

from __future__ import annotations

import json

import pytest

from tests.docs.log_lines import FAILURES, PAGE, lines_of


@pytest.mark.parametrize("name", FAILURES)
def test_the_page_shows_what_a_failure_logs(name: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    _, part = page.split(f"**{name}.**")
    shown = part.split("```text\n")[1].split("\n```")[0]
    text, as_json = shown.split("\n\n")
    assert lines_of(FAILURES[name], "text") == text.splitlines(), (
        "run: python -m tests.docs.log_lines"
    )
    fields = [json.loads(line) for line in as_json.splitlines()]
    assert [json.loads(line) for line in lines_of(FAILURES[name], "json")] == fields
    events = [line["event"] for line in fields]
    assert events
    for event in events:
        assert f"`{event}`" in page, "the page explains the event"
