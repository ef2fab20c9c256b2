"""Transcription sessions: words as they are spoken, a transcript a turn, never an answer."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.fakes import VOCAB, ScriptedEngine, ScriptedRecognizer, text_ids
from tests.server.conftest import Connect
from tests.server.wire import Event, Talk, kinds
from tokenizer.vad import EnergyTurnDetector

INTENT = "ws://localhost/v1/realtime?intent=transcription"
WORDS = [f"word{n}" for n in range(60)]
KIND = "conversation.item.input_audio_transcription"
DELTA, COMPLETED = f"{KIND}.delta", f"{KIND}.completed"


def dictating(connect: Connect, **parts: Any) -> TestClient:
    ear = ScriptedRecognizer(WORDS)
    return connect(detector=EnergyTurnDetector(), **({"recognizer": ear} | parts))


def one_turn(talk: Talk, seconds: float) -> list[Event]:
    talk.hear(0.5)
    talk.hear(seconds, 0.3)
    talk.hear(1.0)
    return talk.until(COMPLETED)


def test_words_come_while_they_are_spoken_and_a_transcript_each_turn(connect: Connect) -> None:
    client = dictating(connect)
    with client.websocket_connect(INTENT) as socket:
        talk = Talk(socket)
        session = talk.next()["session"]
        assert session["type"] == "transcription"
        assert session["object"] == "realtime.transcription_session"
        assert set(session["audio"]) == {"input"}
        assert session["audio"]["input"]["turn_detection"]["create_response"] is False
        for _ in range(2):
            events = one_turn(talk, 4.0)
            deltas = [e["delta"] for e in events if e["type"] == DELTA]
            stopped = kinds(events).index("input_audio_buffer.speech_stopped")
            early = [e for e in events[:stopped] if e["type"] == DELTA]
            assert early, "words come before the end of the turn"
            assert "".join(deltas) == events[-1]["transcript"]
            assert events[-1]["transcript"].split()[:14] == WORDS[:14]
            assert events[-1]["language"] == "en"
            assert len({e["item_id"] for e in events if "item_id" in e}) == 1
            assert not [e for e in events if e["type"].startswith("response.")]


def test_a_client_may_commit_itself(connect: Connect) -> None:
    client = dictating(connect)
    with client.websocket_connect(INTENT) as socket:
        talk = Talk(socket)
        talk.next()
        session = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
        talk.send("session.update", session=session)
        assert talk.next()["session"]["audio"]["input"]["turn_detection"] is None
        talk.hear(2.0, 0.3)
        talk.send("input_audio_buffer.commit")
        assert talk.until(COMPLETED)[-1]["transcript"] == " ".join(WORDS[:8])


def test_a_realtime_session_becomes_one_by_its_type_and_stays_one(connect: Connect) -> None:
    client = dictating(connect)
    with client.websocket_connect("ws://localhost/v1/realtime?model=x") as socket:
        talk = Talk(socket)
        assert talk.next()["session"]["type"] == "realtime"
        heard = {"model": "whisper-1", "language": "de-DE", "prompt": "Names: Bob."}
        session = {"type": "transcription", "audio": {"input": {"transcription": heard}}}
        talk.send("session.update", session=session)
        assert talk.next()["session"]["audio"]["input"]["transcription"] == heard
        error = talk.error("session.update", session={"type": "realtime"})
        assert error["code"] == "invalid_session_type"
        assert one_turn(talk, 1.0)[-1]["transcript"]


def test_a_clients_language_and_prompt_reach_the_recognizer(connect: Connect) -> None:
    ear = ScriptedRecognizer(WORDS)
    client = dictating(connect, recognizer=ear)
    with client.websocket_connect(INTENT) as socket:
        talk = Talk(socket)
        talk.next()
        heard = {"model": "whisper-1", "language": "de-DE", "prompt": "Names: Bob."}
        session = {"type": "transcription", "audio": {"input": {"transcription": heard}}}
        talk.send("session.update", session=session)
        talk.next()
        one_turn(talk, 1.0)
    assert {hints.language for _, hints, _ in ear.asked} == {"de"}
    assert all(hints.context.startswith("Names: Bob.") for _, hints, _ in ear.asked)


def test_answers_are_refused(connect: Connect) -> None:
    client = dictating(connect)
    with client.websocket_connect(INTENT) as socket:
        talk = Talk(socket)
        talk.next()
        assert talk.error("response.create")["code"] == "invalid_session_type"


def test_no_wish_for_answers_changes_it(connect: Connect) -> None:
    client = dictating(connect)
    with client.websocket_connect(INTENT) as socket:
        talk = Talk(socket)
        talk.next()
        detection = {"type": "server_vad", "create_response": True}
        session = {"type": "transcription", "audio": {"input": {"turn_detection": detection}}}
        talk.send("session.update", session=session)
        shown = talk.next()["session"]["audio"]["input"]["turn_detection"]
        assert shown["create_response"] is False
        assert not [e for e in one_turn(talk, 1.0) if e["type"].startswith("response.")]


def test_the_beta_shape_names_its_events_apart(connect: Connect) -> None:
    client = dictating(connect)
    headers = {"openai-beta": "realtime=v1"}
    with client.websocket_connect(INTENT, headers=headers) as socket:
        talk = Talk(socket)
        created = talk.next()
        assert created["type"] == "transcription_session.created"
        assert "modalities" not in created["session"]
        wish = {
            "input_audio_format": "pcm16",
            "input_audio_transcription": {"model": "whisper-1", "language": "en"},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 400},
        }
        talk.send("transcription_session.update", session=wish)
        updated = talk.next()
        assert updated["type"] == "transcription_session.updated"
        assert updated["session"]["input_audio_transcription"]["language"] == "en"
        assert one_turn(talk, 1.0)[-1]["transcript"]


@pytest.mark.parametrize("parts", [{}, {"recognizer": None}])
def test_any_ear_will_do(connect: Connect, parts: dict[str, Any]) -> None:
    assert VOCAB.heard_open is not None
    assert VOCAB.heard_close is not None
    heard = [VOCAB.heard_open, *text_ids("word0 word1"), VOCAB.heard_close]
    client = dictating(connect, engine=ScriptedEngine([heard]), **parts)
    with client.websocket_connect(INTENT) as socket:
        talk = Talk(socket)
        talk.next()
        assert one_turn(talk, 1.0)[-1]["transcript"].startswith("word0 word1")
