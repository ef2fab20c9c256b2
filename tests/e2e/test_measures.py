"""`examine --recordings` and `eval` on the shipped system, judged on the loopback."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from step_audio.cli import main as step_audio
from step_audio.core.audio import write_wav
from tests.endpoint import serving

RATE = 16_000


def hum(path: Path) -> None:
    """Write something that is no speech; what nano answers to it does not matter here."""
    t = np.arange(RATE) / RATE
    write_wav(path, (0.2 * np.sin(900 * t) * np.sin(20 * t)).astype(np.float32), RATE)


def test_a_folder_of_recordings_is_probed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ann").mkdir()
    hum(tmp_path / "ann" / "one.wav")
    (tmp_path / "ann" / "one.txt").write_text("what time is it")
    words = ["examine", "--recordings", str(tmp_path), "-o", str(tmp_path / "out")]
    assert step_audio(words) == 0
    assert "| ann | 1 |" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "out" / "recordings.json").read_text())["recordings"]
    assert row["said"] == "what time is it"
    assert not row["failure"]


def test_a_set_of_two_turns_is_answered_heard_and_judged(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "audios").mkdir()
    hum(tmp_path / "audios" / "a.wav")
    turns = [{"role": "user", "text": "hm", "audio": "a.wav"}] * 2
    row = {"conversation_id": "1", "category": "Singing", "conversation": turns}
    (tmp_path / "data" / "test.jsonl").write_text(json.dumps(row) + "\n")
    out = tmp_path / "out"
    with serving(lambda body: '{"factuality": 1, "relevance": 0, "chat": 2}') as endpoint:
        judge = ["--judge-url", endpoint.url, "--judge-model", "judge", "--recognizer", "none"]
        command = ["eval", "stepeval-360", str(tmp_path), "-o", str(out), *judge]
        assert step_audio(command) == 0
    report = json.loads((out / "report.json").read_text())
    figures = {row["figure"]: row["value"] for row in report["figures"] if row["category"] == "all"}
    assert figures == {"factuality": 100.0, "relevance": 0.0, "chat": 2.0}
    assert (report["answered"], report["judge"]) == (1, "judge")
    (answer,) = (json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines())
    assert len(answer["texts"]) == 2
    assert (out / "page.html").is_file()
