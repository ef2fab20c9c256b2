"""The report counts what was rejected and what was never said, and plots it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from step_audio.core.errors import InputError
from step_audio.data import filter as sieve
from step_audio.data.manifest import TextLine
from step_audio.data.readers import SpokenLine
from step_audio.data.report import report
from step_audio.data.speak import speak
from step_audio.data.write import write
from tests.data.sounds import PLAIN, ToneReader, gate


def test_what_was_said_in_the_end_is_no_failure_of_the_report(tmp_path: Path) -> None:
    write(tmp_path, [PLAIN, replace(PLAIN, answer="Quite unsayable.")], ["TTS"])

    class Mute(ToneReader):
        def read(self, line: TextLine) -> SpokenLine:
            raise InputError("out of order")

    speak(tmp_path, Mute())
    speak(tmp_path, ToneReader(), again=True)
    report(tmp_path)
    facts = json.loads((tmp_path / "report" / "report.json").read_text())
    assert facts["not_said"] == 1
    assert facts["not_said_why"] == {"cannot say unsayable": 1}


def test_the_report_counts_and_plots(spoken: Path) -> None:
    sieve.measure(spoken, gate)
    sieve.judge(spoken)
    page = report(spoken).read_text()
    assert "| error_rate | 4 |" in page
    assert "recognition error rate 1, wanted at most 0.35" in page
    assert {path.stem for path in (spoken / "report").glob("*.svg")} >= {
        "seconds",
        "rejections",
        "error_rate",
        "speakers",
    }
