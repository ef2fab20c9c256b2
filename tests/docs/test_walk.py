"""How commands are found in the documents, and what the walk does with each."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.docs.commands import ROOT
from tests.docs.shell_commands import ShownCommand, all_commands, commands_of
from tests.docs.walk import Outcome, Step, Walk, on_loopback, step_of, table

PAGE = """\
Words, `step-audio inline`.

    step-audio say "It's #1" -o a.wav    # a comment, isn't it
    tools: {weather: 1}
    A=1 make run PORT=2 \\
        CHAT=x

- a list

```yaml
step-audio: no command
```

<!-- needs: a GPU -->

```sh
# only a comment
curl x -d '{"a":
  1}'
anything at all
```
"""


def test_commands_are_found_in_blocks_with_their_lines_and_marks() -> None:
    found = list(commands_of("p.md", PAGE))
    assert [(c.line, c.text) for c in found] == [
        (3, 'step-audio say "It\'s #1" -o a.wav'),
        (5, "A=1 make run PORT=2 CHAT=x"),
        (18, "curl x -d '{\"a\": 1}'"),
        (20, "anything at all"),
    ]
    assert [c.needs for c in found] == ["", "", "a GPU", "a GPU"]
    assert [c.program for c in found] == ["step-audio", "make", "curl", "anything"]


def test_every_line_that_the_documents_show_in_a_shell_is_found() -> None:
    found = {(c.page, c.line) for c in all_commands()}
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for at, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
            if re.match(r"    (step-audio|make|curl) ", line):
                assert (page.relative_to(ROOT).as_posix(), at) in found, line


def test_each_command_is_run_or_its_need_is_known() -> None:
    steps = [step_of(command) for command in all_commands()]
    assert {step.how for step in steps} == {"run", "serve", "dry", "marked"}
    assert all(bool(step.needs) == (step.how == "marked") for step in steps)
    assert sum(step.how in ("run", "serve") for step in steps) >= 50
    for step in steps:  # placeholders cannot be run
        if step.how == "run":
            assert not re.search(r"\bHOST\b|\bADDRESS\b|\bFOLDER\b| \.\.\.", step.command.text)


@pytest.mark.parametrize(
    ("text", "how", "needs"),
    [
        ("step-audio plan --profile aqaa-130b --gpu h100", "run", ""),
        ("step-audio engine --profile aqaa-130b --tp 8", "marked", "cards"),
        ("step-audio engine --profile aqaa-130b --tp 8 --dry-run", "run", ""),
        ("docker compose up", "marked", "Docker"),
        ("step-audio serve --port 8000", "serve", ""),
        ("make run", "serve", ""),
        ("make soak", "dry", ""),
    ],
)
def test_what_is_done_with_a_command(text: str, how: str, needs: str) -> None:
    step = step_of(ShownCommand("p.md", 1, text))
    assert (step.how, step.needs) == (how, needs)


def test_commands_stay_on_loopback_and_call_the_server_of_the_walk() -> None:
    assert on_loopback("step-audio serve --host 0.0.0.0 --tls", 7) == (
        "step-audio serve --host 127.0.0.1 --tls --port 7"
    )
    assert on_loopback("curl 127.0.0.1:8000/v1/models", 7) == "curl 127.0.0.1:7/v1/models"
    assert "ws://127.0.0.1:7/" in on_loopback("step-audio load --sessions 4 --turns 5", 7)
    assert "PORT=7" in on_loopback("make run", 7)


def test_a_command_that_fails_is_named_with_its_last_line(tmp_path: Path) -> None:
    walk = Walk(tmp_path / "walk")
    walk.copy.mkdir(parents=True)
    walk.logs.mkdir()
    rows: list[tuple[Step, Outcome]] = []
    for text in ("echo one | cat", "echo lost; false", "false | true", "cat /dev/null"):
        step = Step(ShownCommand("p.md", 1, text), "run")
        rows.append((step, walk.take(step)))
    assert [outcome.well for _, outcome in rows] == [True, False, False, True]
    assert rows[1][1].said == "lost"
    shown = table(rows)
    assert "| p.md:1 | `echo lost; false` | FAILED: lost |" in shown
    assert "echo one \\| cat" in shown
    assert json.dumps(shown).count("FAILED") == 2
