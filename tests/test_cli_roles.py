"""`roles list`, `roles show`, `ask --role`."""

import json
from pathlib import Path

import numpy as np
import pytest

from step_audio.cli import main
from step_audio.core.audio import write_wav
from step_audio.dialog.role_play.cards import load_cards


def test_the_cards_of_a_profile_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["roles", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines] == list(load_cards())
    assert "pirate\ta pirate\ten" in lines
    assert "shuoshuren\t说书先生\tzh\tnot played by this profile" in lines
    assert main(["roles", "list", "--profile", "local-chat"]) == 0
    assert "not played" not in capsys.readouterr().out
    assert main(["roles", "list", "--profile", "tts-3b"]) == 0
    assert capsys.readouterr().out.count("not played") == len(load_cards())


def test_a_card_is_shown_by_name_or_title(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["roles", "show", "a pirate"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["name"] == "pirate"
    assert main(["roles", "show", "nobody"]) == 2
    assert "there are butler, chef" in capsys.readouterr().err


def test_a_folder_of_ones_own_is_listed_and_a_broken_card_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEP_AUDIO__ROLE_FOLDER", str(tmp_path))
    (tmp_path / "cook.yaml").write_text("name: cook\ntitle: a cook\nwho: You cook.\n")
    assert main(["roles", "show", "cook"]) == 0
    assert json.loads(capsys.readouterr().out)["who"] == "You cook."
    (tmp_path / "cook.yaml").write_text("name: cook\ntitle: a cook\n")
    assert main(["roles", "list"]) == 2
    assert "cook.yaml: who: field required" in capsys.readouterr().err


def test_a_question_is_asked_in_a_role_and_what_is_left_of_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    question, out = tmp_path / "question.wav", tmp_path / "answer.wav"
    write_wav(question, np.full(24000, 0.1, np.float32), 24000)
    command = ["ask", str(question), "-o", str(out), "--profile", "scripted", "--role", "pirate"]
    assert main(command) == 0
    told = capsys.readouterr()
    assert "answer: " in told.out
    assert "role not applied: this model takes no instructions" in told.err
    assert out.exists()
