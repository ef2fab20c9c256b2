"""The page in a real Chromium, with nano behind it. Run: make test-web.

Screenshots, the recorded answer and what was measured are left in build/web-test.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from step_audio.core.audio import write_wav
from step_audio.core.config import load_profile
from step_audio.dialog.packing import interleave
from step_audio.runtime import Runtime
from tests.fakes import VOCAB, ScriptedEngine, group, services, text_ids
from tests.server.loopback import serving

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build"
MODULES = BUILD / "web" / "node_modules"
OUT = BUILD / "web-test"
QUESTION = HERE / "question.wav"
"""flite's voice slt: "What can you do?"; a second of silence in front."""
MOST_STOP_MS = 300
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
    pytest.mark.skipif(
        not MODULES.is_dir(), reason="make test-web installs what it drives it with"
    ),
]


@pytest.fixture(scope="module")
def nano() -> Iterator[int]:
    runtime = Runtime(load_profile("nano"))
    with serving(runtime.services(), runtime.settings()) as port:
        yield port


@pytest.fixture
def drive(tmp_path: Path) -> Any:
    OUT.mkdir(parents=True, exist_ok=True)

    def run(step: str, port: int) -> dict[str, Any]:
        environment = {
            **os.environ,
            "MODULES": str(MODULES),
            "CHROMIUM": CHROMIUM or "",
            "PROFILE": str(tmp_path / "profile"),
            "URL": f"http://127.0.0.1:{port}/",
            "OUT": str(OUT),
            "QUESTION": str(QUESTION),
        }
        done = subprocess.run(
            ["node", str(HERE / "drive.mjs"), step],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=500,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        (OUT / f"{step}.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
        assert found["troubles"] == []
        return found

    return run


def test_a_question_into_the_microphone_is_answered_aloud(drive: Any, nano: int) -> None:
    judging = pytest.importorskip("step_audio.eval.judge")
    found = drive("talk", nano)
    heard, answer = dict(found["bubbles"])["user"], dict(found["bubbles"])["assistant"]
    assert set(heard.lower().split()) & {"what", "can", "you", "do"}
    pcm = np.fromfile(OUT / "answer.f32", dtype=np.float32)
    write_wav(OUT / "answer.wav", pcm, found["rate"])
    words = judging.normalise(judging.domain_judge().hear(pcm, found["rate"]))
    wanted = judging.normalise(answer)
    right = len(set(words) & set(wanted)) / len(set(wanted))
    assert right >= 0.7, f"said {answer!r}, heard {' '.join(words)!r}"


def test_speaking_into_an_answer_silences_it(drive: Any) -> None:
    # nano's ears and an answer that costs nothing: what is measured is the page and the turns.
    # Words and groups change all the time, or the guard against loops would end it.
    words = " ".join(f"{n} sheep and {n * n} goats" for n in range(20))
    answer = interleave(text_ids(words), [group(n) for n in range(120)], VOCAB)
    ears = Runtime(load_profile("nano")).services().turn_detector
    with serving(replace(services(ScriptedEngine([answer] * 3)), turn_detector=ears)) as port:
        found = drive("interrupt", port)
    # It holds its breath at once, and for good as soon as the server says that it was speech.
    assert found["firstStopMs"] <= MOST_STOP_MS
    assert found["mark"].startswith("interrupted after")


def test_a_tool_call_is_shown_and_a_reload_keeps_the_conversation(drive: Any, nano: int) -> None:
    found = drive("resume", nano)
    assert "get_time" in found["call"]
    assert "London" in found["call"]
    assert "time" in found["call"].splitlines()[-1]
    assert found["after"] == found["before"]
    assert [who for who, _ in found["then"]] == ["user", "assistant"]
    assert found["overflow"] <= 0


def test_50_ms_of_jitter_make_no_gap(drive: Any) -> None:
    answer = interleave(text_ids("On and on and on."), [group(1)] * 60, VOCAB)
    with serving(services(ScriptedEngine([answer]))) as port:
        assert drive("jitter", port)["buffer"].endswith(" 0 gaps")


def test_nothing_stands_in_the_way_of_assistive_technology(drive: Any, nano: int) -> None:
    found = drive("access", nano)
    assert [v for v in found["found"] if v[2] in {"serious", "critical"}] == []
    assert "allow it" in found["refused"]
    assert "of speech in" in found["said"]
