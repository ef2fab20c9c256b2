"""Commands that the documents show are commands that there are."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import soundfile as sf

from step_audio.cli import main
from step_audio.cli.arguments import parser
from tests.docs.commands import PAGES, ROOT, shown

QUICKSTART = ROOT / "docs" / "quickstart.md"
LINES = [(page.name, words) for page in PAGES for words in shown(page)]


@pytest.mark.parametrize(("page", "words"), LINES, ids=[f"{p}:{' '.join(w)}" for p, w in LINES])
def test_the_parser_takes_every_command_shown(
    page: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        parser().parse_args(words)
    except SystemExit:
        said = capsys.readouterr().err
        # Dots stand for more of what a line before it had.
        assert "..." in words, said
        assert "arguments are required" in said or "unrecognized arguments: ..." in said


@pytest.mark.slow
def test_the_quick_start_gets_to_a_spoken_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEP_AUDIO__VOICE_FOLDER", str(tmp_path / "voices"))
    tried = [words for words in shown(QUICKSTART) if words[0] not in ("serve", "doctor")]
    assert tried[0][0] == "ask"
    (tmp_path / "web").symlink_to(ROOT / "web")
    for words in tried:
        assert main(words) == 0, words
    answer, rate_hz = sf.read("answer.wav")
    assert len(answer) / rate_hz > 0.3
    assert abs(answer).max() > 0.03
    assert len(json.loads(Path("ids.json").read_text())) > 0
    assert capsys.readouterr().out.strip()
    assert Path("back.wav").stat().st_size > 1000


def test_make_targets_that_documents_name_are_there() -> None:
    made = set(re.findall(r"^([\w -]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    targets = {target for line in made for target in line.split()}
    named = r"(?:`|^ {4})make ((?:[a-z][\w-]* ?)*)"
    for page in PAGES:
        for line in re.findall(named, page.read_text(), re.MULTILINE):
            assert set(line.split()) <= targets, f"{page.name}: make {line}"


def test_make_run_names_host_and_port_only_where_they_are_set() -> None:
    def shown(*words: str) -> str:
        old = [word for name in ("run", "whisper") for word in ("-o", f".venv/.{name}-ready")]
        command = ["make", "-n", "run", *old, *words]
        # Nothing of a make that runs these tests: it would add lines and variables of its own.
        named = {"HOST", "PORT", "PROFILE", "CHAT", "MODEL"}
        kept = {k: v for k, v in os.environ.items() if k not in named and not k.startswith("MAKE")}
        done = subprocess.run(
            command, cwd=ROOT, env=kept, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout.strip().splitlines()[-1].partition("serve ")[2].strip()

    assert shown("PROFILE=aqaa-130b") == "--profile aqaa-130b"  # its port is the profile's
    assert shown("PORT=8001", "HOST=0.0.0.0") == "--profile nano --host 0.0.0.0 --port 8001"
