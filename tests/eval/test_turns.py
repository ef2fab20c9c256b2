"""Scripted dialogues: what timelines say, folders of scripts, and one on a scripted server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

from step_audio.core.audio import write_wav
from step_audio.core.errors import InputError
from step_audio.core.types import Pcm
from step_audio.eval.compare import markdown as compared
from step_audio.eval.compare import open_runs
from step_audio.eval.examinee import ExamineeGone
from step_audio.eval.turns.run import hold_all
from step_audio.eval.turns.scripts import ScriptedDialogue, read_scripts
from step_audio.eval.turns.timeline import Sounded, Timeline, figures
from tests.fakes import ScriptedEngine, services, text_ids
from tests.server.loopback import serving

RATE = 24_000


def line(kind: str, **events: object) -> Timeline:
    """A question from 1 to 3 s, answered by two seconds of sound that comes at 4 s."""
    made = {
        "first": (1.0, 3.0),
        "stopped": [3.5],
        "committed": [3.5],
        "responses": [Sounded("r1", 3.6, [(4.0, 1.0), (4.1, 1.0)], "completed")],
    }
    return Timeline("x", kind, **{**made, **events})  # type: ignore[arg-type]


def told(made: Timeline) -> dict[str, float]:
    return {name: round(value, 1) for name, value in figures(made)}


PLAIN = {"cut_off": 0.0, "ended_early": 0.0, "answered": 1.0}
DELAYS = {"response_ms": 1000.0, "end_of_turn_ms": 500.0}


def test_a_turn_that_is_answered() -> None:
    assert told(line("end_of_turn")) == {**PLAIN, **DELAYS}
    assert told(line("end_of_turn", responses=[])) == {
        **PLAIN,
        "answered": 0.0,
        "end_of_turn_ms": 500.0,
    }


def test_a_pause_taken_for_the_end_is_early_and_with_sound_a_cut_off() -> None:
    late = line("pause", then=(4.5, 6.0), stopped=[3.5, 6.5], committed=[3.5, 6.5])
    assert told(late)["cut_off"] == 1.0
    assert told(late)["ended_early"] == 1.0
    held = [Sounded("r1", 3.6, [], "cancelled"), Sounded("r2", 6.6, [(7.0, 1.0)], "completed")]
    waited = line("pause", then=(4.5, 6.0), stopped=[3.5, 6.5], committed=[6.5], responses=held)
    assert told(waited) == {**PLAIN, **DELAYS}


def test_an_interruption_is_obeyed_when_it_silences_and_is_taken() -> None:
    obeyed = line("interruption", then=(5.0, 5.6), started=[1.1, 5.2], committed=[3.5, 6.0])
    assert told(obeyed) == {**PLAIN, **DELAYS, "obeyed": 1.0, "interruption_ms": 200.0}
    deaf = line("interruption", then=(5.0, 5.6))
    assert told(deaf)["obeyed"] == 0.0
    too_late = line("interruption", then=(6.5, 7.0))
    assert "obeyed" not in told(too_late)


def test_an_answer_that_waits_for_sound_of_its_server_is_under_way() -> None:
    starved = Sounded("r1", 3.6, [(4.0, 0.2)], "cancelled", 6.21)
    made = line("interruption", then=(5.0, 5.6), started=[1.1, 6.22], responses=[starved])
    made.committed.append(6.9)
    assert told(made)["obeyed"] == 1.0
    assert told(made)["interruption_ms"] == 1220.0


def test_a_backchannel_is_ridden_out_when_the_answer_goes_on() -> None:
    rest = Sounded("r2", 5.9, [(6.0, 1.0)], "completed")
    first = line("backchannel").responses[0]
    gone_on = line("backchannel", then=(5.0, 5.5), started=[5.1], responses=[first, rest])
    assert told(gone_on) == {**PLAIN, **DELAYS, "ridden_out": 1.0, "resume_ms": 500.0}
    ended = line("backchannel", then=(5.0, 5.5), started=[5.1], committed=[3.5, 5.9])
    assert told(ended)["ridden_out"] == 0.0
    unheard = line("backchannel", then=(5.0, 5.5))
    assert told(unheard) == {**PLAIN, **DELAYS, "ridden_out": 1.0}  # nothing silences the client
    silent = line("backchannel", then=(5.0, 5.5), started=[5.1])
    assert told(silent)["ridden_out"] == 0.0
    first.pieces.append((5.7, 1.0))
    assert told(line("backchannel", then=(5.0, 5.5), responses=[first]))["ridden_out"] == 1.0


def test_silence_is_kept_and_ends_with_an_answer() -> None:
    second = Sounded("r2", 14.0, [(14.5, 1.0)], "completed")
    first = line("silence").responses[0]
    made = line("silence", then=(12.0, 13.5), responses=[first, second])
    silence = {"unprompted": 0.0, "after_silence": 1.0, "after_silence_ms": 1000.0}
    assert told(made) == {**PLAIN, **DELAYS, **silence}
    chatty = Sounded("r3", 9.0, [(9.5, 1.0)], "completed")
    made = line("silence", then=(12.0, 13.5), responses=[first, chatty, second])
    assert told(made)["unprompted"] == 1.0


def test_a_timeline_is_kept_in_a_row() -> None:
    made = line("pause", then=(4.5, 6.0), errors=["x"])
    assert Timeline.of_row(json.loads(json.dumps(made.row()))) == made


def burst(seconds: float) -> Pcm:
    t = np.arange(int(RATE * seconds)) / RATE
    return (0.4 * np.sin(2 * np.pi * 220 * t)).astype(np.float32)


def test_scripts_are_read_and_broken_ones_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--make"):
        read_scripts(tmp_path)
    write_wav(tmp_path / "a.wav", burst(0.3), RATE)
    rows = [
        {"id": "1", "kind": "pause", "first": "a.wav", "then": "a.wav", "wait_ms": 300},
        {"id": "2", "kind": "pause", "first": "a.wav"},
        {"id": "3", "kind": "song", "first": "a.wav"},
        {"id": "4", "kind": "end_of_turn", "first": "../a.wav"},
        {"id": "5", "kind": "end_of_turn", "first": "b.wav"},
        {"id": "6", "kind": "silence", "first": "a.wav", "then": "a.wav", "wait_ms": -1},
    ]
    (tmp_path / "turns.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    scripts, broken = read_scripts(tmp_path)
    assert [script.id for script in scripts] == ["1"]
    assert len(scripts[0].then) > 0
    assert len(broken) == 5


def test_dialogues_on_a_server_are_held_once_and_compared(tmp_path: Path) -> None:
    """The fake engine answers at once; the energy of a tone is what turn detection hears."""
    parts = services(ScriptedEngine([text_ids("hello")] * 8))
    nothing = np.zeros(0, np.float32)
    scripts = [ScriptedDialogue("1", "end_of_turn", burst(0.6), nothing)]
    facts = {"set": "turns", "title": "Turns", "examinee": "fake"}
    with serving(parts) as port:
        url = f"ws://127.0.0.1:{port}/v1/realtime"
        report = asyncio.run(hold_all(tmp_path, scripts, url, facts, patience_s=3))
    with pytest.raises(ExamineeGone):
        asyncio.run(hold_all(tmp_path / "b", scripts, url, facts, patience_s=1))
    again = asyncio.run(hold_all(tmp_path, scripts, url, facts))
    assert again == report
    assert {row["figure"] for row in report["figures"]} >= {"cut_off", "ended_early", "answered"}
    assert "turns answered" in compared(open_runs([tmp_path]))
    assert (tmp_path / "page.html").exists()
