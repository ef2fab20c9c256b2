"""Traces of sessions, and sessions from traces."""

import json
from collections.abc import Mapping
from dataclasses import replace as changed
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from server.admission.limits import ServerSettings
from server.observability.replay import ReplayClock, ReplayReport, read_trace, replay
from server.observability.trace import TraceWriter
from step_audio.cli import main
from step_audio.core.errors import InputError
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.layout import interleave
from tests.fakes import VOCAB, ScriptedEngine, group, services, text_ids
from tests.server.conftest import Connect
from tests.server.wire import URL, Talk
from tokenizer.vad import EnergyTurnDetector

HEARD = [6, *text_ids("what time is it"), 7]
WORDS = "It is noon and the sun is high above the town."
ANSWER = [*HEARD, *interleave(text_ids(WORDS), [group(n) for n in range(30)], VOCAB)]


def traced(
    connect: Connect, folder: Path, protocols: list[str], *, voice: str | None = None
) -> list[Path]:
    """Have a session with an answer, an interruption and a mistake; return the traces."""
    settings = ServerSettings(traces=folder, voice_names={"anna": "slt"})
    client = connect([ANSWER], settings=settings, detector=EnergyTurnDetector())
    with client.websocket_connect(URL, subprotocols=protocols) as socket:
        talk = Talk(socket)
        talk.next()
        if voice is not None:
            talk.send("session.update", session={"voice": voice})
            assert talk.next()["session"]["voice"] == voice
        talk.hear(0.3)
        talk.hear(0.6, 0.3)
        talk.hear(0.7)
        done = talk.until("response.done")[-1]
        item_id = done["response"]["output"][0]["id"]
        talk.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=700)
        talk.until("conversation.item.truncated")
        talk.send("conversation.item.retrieve", item_id=item_id)
        talk.until("conversation.item.retrieved")
        talk.send("nonsense")
        talk.until("error")
    return list(folder.iterdir())


async def again(
    path: Path, answer: list[int], voice_names: Mapping[str, str] = MappingProxyType({})
) -> ReplayReport:
    clock: Any = ReplayClock()
    parts = services(ScriptedEngine([answer]))
    parts = changed(parts, clock=clock, turn_detector=EnergyTurnDetector())
    assistant = Assistant(parts)
    trace = read_trace(path)
    report = await replay(assistant, clock, trace, voice_names=voice_names, patience_s=5.0)
    await assistant.aclose()
    return report


def test_a_trace_holds_the_session_and_no_sound_of_answers(
    connect: Connect, tmp_path: Path
) -> None:
    (path,) = traced(connect, tmp_path, ["realtime", "step-audio-trace"])
    assert path.stat().st_mode & 0o077 == 0
    records = read_trace(path).records
    kinds = [record["out"]["type"] for record in records if "out" in record]
    assert kinds[0] == "session.created"
    assert kinds[-1] == "error"
    sounds = [r["out"]["delta"] for r in records if "output_audio.delta" in str(r.get("out"))]
    assert sounds
    assert all(delta.startswith("sha256:") for delta in sounds)


def test_who_does_not_ask_is_not_traced(connect: Connect, tmp_path: Path) -> None:
    assert traced(connect, tmp_path, ["realtime"]) == []


async def test_a_replay_meets_what_the_trace_met_twice_over(
    connect: Connect, tmp_path: Path
) -> None:
    (path,) = traced(connect, tmp_path, ["step-audio-trace"])
    reports = [(await again(path, ANSWER)).to_dict() for _ in range(2)]
    assert reports[0] == reports[1]
    assert reports[0]["differences"] == []
    assert reports[0]["same"] == reports[0]["events"] > 30


async def test_a_replay_speaks_the_dialect_of_the_trace_and_knows_the_operators_voices(
    connect: Connect, tmp_path: Path
) -> None:
    """What says that a client is of the beta shape stands in its upgrade, not in its messages."""
    protocols = ["openai-beta.realtime-v1", "step-audio-trace"]
    (path,) = traced(connect, tmp_path, protocols, voice="anna")
    report = await again(path, ANSWER, {"anna": "slt"})
    assert report.differences == []
    assert report.same == report.events > 30


async def test_a_replay_shows_what_has_changed(connect: Connect, tmp_path: Path) -> None:
    (path,) = traced(connect, tmp_path, ["step-audio-trace"])
    other = [*HEARD, *interleave(text_ids("No."), [group(n) for n in range(3)], VOCAB)]
    report = await again(path, other)
    assert report.same < report.events
    assert report.differences


@pytest.mark.parametrize(
    "content", ["", "{}\n", "sound", '{"trace": 1, "dialect": ["x"]}\n', '{"trace": 9}\n', "[1]\n"]
)
def test_what_is_no_trace_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(content)
    if content:
        with pytest.raises(InputError, match="no trace"):
            read_trace(path)
    else:
        assert read_trace(path).records == []


def test_the_command_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "/nowhere/x.jsonl", "--profile", "scripted"]) == 2
    assert "cannot read" in capsys.readouterr().err


def test_a_folder_that_is_gone_ends_the_trace_and_not_the_session(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "gone", "m", 0.0)
    writer.received("x", 1.0)
    writer.sent({"type": "error"}, 2.0)
    writer.ended(3.0)
    assert not list(tmp_path.iterdir())


def test_each_line_is_json(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path, "m", 10.0, dialect="beta")
    writer.received('{"type": "x"}', 10.5)
    writer.ended(11.0)
    head, line = (json.loads(row) for row in writer.path.read_text().splitlines())
    assert head == {"trace": 1, "model": "m", "dialect": "beta"}
    assert line == {"at_ms": 500.0, "in": '{"type": "x"}'}
